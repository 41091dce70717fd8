// SPDX-License-Identifier: BSD-3-Clause
/*
 * vsock_forever PORT: in the guest, connects to a program of the host that sends back whatever it gets,
 * and keeps bytes under way in both directions until a line comes on standard input. Each byte is what
 * its place in the stream says, and the connection must not end. Another connection is idle meanwhile
 * and must still work at the end. One after the other, short connections come and go. Prints the number
 * of exchanges, or the fault.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define UNDER_WAY (512u << 10) /* bytes, at most */
#define TELL      (128u << 10) /* that the guest gets on, each so many bytes */
#define PERIOD    65521u       /* of no buffer's length */

static uint8_t pattern[2 * PERIOD];
static unsigned done;

static int fail(const char *text)
{
    puts(text);
    return -1;
}

static int wants_to_end(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) != 0;
}

/* -1: refused. */
static int open_connection(unsigned port)
{
    struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int sock = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (sock >= 0 && connect(sock, (struct sockaddr *)&host, sizeof(host)) == 0)
        return sock;
    if (sock >= 0)
        close(sock);
    return -1;
}

/* Sends and receives so much as goes now. 0, or -1 with the fault told. */
static int move(int sock, uint64_t *sent, uint64_t *came, int may_send)
{
    static uint8_t bytes[16384];
    if (may_send && *sent - *came < UNDER_WAY) {
        ssize_t len = send(sock, pattern + *sent % PERIOD, 1 + (size_t)random() % PERIOD,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        if (len < 0 && errno != EAGAIN)
            return fail("the connection has ended while it sent");
        *sent += len > 0 ? (uint64_t)len : 0;
    }
    ssize_t got = recv(sock, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        return fail("the connection has ended");
    if (got > 0 && memcmp(bytes, pattern + *came % PERIOD, (size_t)got) != 0)
        return fail("other bytes came back");
    if (got > 0 && (*came + (uint64_t)got) / TELL != *came / TELL) {
        puts("progress");
        done++;
    }
    *came += got > 0 ? (uint64_t)got : 0;
    return 0;
}

/* One that comes and goes, with a few bytes. */
static int use_shortly(unsigned port)
{
    char byte = 'x';
    int sock = open_connection(port);
    if (sock < 0)
        return fail("a short connection was refused");
    if (send(sock, &byte, 1, MSG_NOSIGNAL) != 1 || recv(sock, &byte, 1, 0) != 1 || byte != 'x')
        return fail("a short connection has ended");
    close(sock);
    return 0;
}

static int use(int sock, unsigned port)
{
    uint64_t sent = 0, came = 0, rounds = 0;
    int ends = 0;
    while (!ends || came < sent) {
        short wanted = POLLIN | (sent - came < UNDER_WAY && !ends ? POLLOUT : 0);
        struct pollfd wait = {.fd = sock, .events = wanted};
        if (poll(&wait, 1, 30000) != 1)
            return fail("nothing came for 30 s");
        if (move(sock, &sent, &came, !ends) < 0 || (rounds++ % 256 == 0 && use_shortly(port) < 0))
            return -1;
        ends = ends || wants_to_end();
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned port = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
    char byte = 'y';
    setbuf(stdout, NULL);
    for (unsigned i = 0; i < PERIOD; i++)
        pattern[i] = pattern[PERIOD + i] = (uint8_t)random();
    puts("exchanging");
    int idle = open_connection(port), sock = open_connection(port);
    if (idle < 0 || sock < 0)
        return fail("the host has refused a connection"), 1;
    if (use(sock, port) < 0)
        return 1;
    if (send(idle, &byte, 1, MSG_NOSIGNAL) != 1 || recv(idle, &byte, 1, 0) != 1 || byte != 'y')
        return fail("the idle connection has ended"), 1;
    close(sock);
    close(idle);
    printf("exchanged %u times\n", done);
    return 0;
}
