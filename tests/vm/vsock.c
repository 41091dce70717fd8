// SPDX-License-Identifier: BSD-3-Clause
/*
 * vsock connect CID PORT | listen PORT: for guests, which have no tool for AF_VSOCK. Copies standard
 * input to the connection, whose direction it then ends, and the connection to standard output.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int fail(const char *what)
{
    fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool copy(int from, int to)
{
    static char bytes[65536];
    ssize_t got = read(from, bytes, sizeof(bytes));
    for (ssize_t done = 0, sent = 0; done < got; done += sent) {
        sent = write(to, bytes + done, (size_t)(got - done));
        if (sent < 0)
            return false;
    }
    return got > 0;
}

static int pump(int sock)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = sock, .events = POLLIN}};
    while (fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0)
            return fail("poll");
        if (fds[0].revents && !copy(STDIN_FILENO, sock)) {
            shutdown(sock, SHUT_WR);
            fds[0].fd = -1;
        }
        if (fds[1].revents && !copy(sock, STDOUT_FILENO))
            fds[1].fd = -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    bool listens = argc == 3 && strcmp(argv[1], "listen") == 0;
    if (!listens && argc != 4)
        return 2;
    struct sockaddr_vm address = {.svm_family = AF_VSOCK,
                                  .svm_cid = listens ? VMADDR_CID_ANY
                                                     : (unsigned)strtoul(argv[2], NULL, 10),
                                  .svm_port = (unsigned)strtoul(argv[argc - 1], NULL, 10)};
    int sock = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (sock < 0)
        return fail("socket");
    if (!listens)
        return connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ? fail("connect")
                                                                               : pump(sock);
    if (bind(sock, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(sock, 8) < 0)
        return fail("listen");
    fputs("listens\n", stderr);
    int peer = accept(sock, NULL, NULL);
    return peer < 0 ? fail("accept") : pump(peer);
}
