// SPDX-License-Identifier: BSD-3-Clause
/*
 * vsock_forever PORT: in the guest, connects to a program of the host that sends back whatever it gets,
 * until a line comes on standard input. A connection may end at any time; then there is another.
 * No byte may be wrong, and none may be missing before an end. One more connection waits for a byte
 * that never comes: it must end with an error when the others do. Prints the number of exchanges, or
 * the fault.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define LEN 8192u

static unsigned done;

static int wants_to_end(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) != 0;
}

/* -1: not now. */
static int open_connection(unsigned port)
{
    struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int sock = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (sock >= 0 && connect(sock, (struct sockaddr *)&host, sizeof(host)) == 0)
        return sock;
    if (sock >= 0)
        close(sock);
    poll(NULL, 0, 1);
    return -1;
}

/* 1: all has come back; 0: the connection has ended; -1: something else came. */
static int exchange(int sock)
{
    static uint8_t sent[LEN], came[LEN];
    const size_t len = 1 + (size_t)random() % LEN;
    size_t have = 0;
    for (size_t i = 0; i < len; i++)
        sent[i] = (uint8_t)random();
    if (send(sock, sent, len, MSG_NOSIGNAL) != (ssize_t)len)
        return 0;
    while (have < len) {
        ssize_t got = recv(sock, came + have, len - have, 0);
        if (got <= 0)
            return 0;
        have += (size_t)got;
    }
    return memcmp(sent, came, len) == 0 ? 1 : -1;
}

/* As long as it lasts. */
static int use(int sock)
{
    while (!wants_to_end()) {
        int result = exchange(sock);
        if (result <= 0)
            return result;
        if (++done % 20 == 0)
            puts("progress");
    }
    return 0;
}

/* Another connection, which waited for a byte, has ended too. */
static int has_ended(int sock)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    uint8_t byte;
    return poll(&wait, 1, 30000) == 1 && recv(sock, &byte, 1, 0) <= 0;
}

int main(int argc, char **argv)
{
    unsigned port = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
    setbuf(stdout, NULL);
    puts("exchanging");
    while (!wants_to_end()) {
        int idle = open_connection(port), sock = idle < 0 ? -1 : open_connection(port);
        int result = sock < 0 ? 0 : use(sock);
        if (result < 0)
            return puts("other bytes came back"), 1;
        if (sock >= 0 && !wants_to_end() && !has_ended(idle))
            return puts("a connection that waits has not ended"), 1;
        if (sock >= 0)
            close(sock);
        if (idle >= 0)
            close(idle);
    }
    printf("exchanged %u times\n", done);
    return 0;
}
