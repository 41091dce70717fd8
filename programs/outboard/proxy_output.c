// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_output.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int complain(const struct client *client, int fd, int error)
{
    if (error != EPIPE)
        client_say(client, "can't write to standard %s: %s",
                   fd == STDOUT_FILENO ? "output" : "error", strerror(error));
    return EXIT_NOT_REACHED;
}

int output_write(const struct client *client, int fd, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t put = write(fd, at, len);
        if (put < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (put < 0 && errno != EINTR) {
            return complain(client, fd, errno);
        } else if (put > 0) {
            at += put;
            len -= (size_t)put;
        }
    }
    return 0;
}

int output_close_one(const struct client *client, int fd)
{
    int err = close(fd) < 0 && errno != EINTR && errno != EBADF ? errno : 0;
    // cppcheck-suppress deallocret ; its number tells which it was
    return err ? complain(client, fd, err) : 0;
}

int output_close(const struct client *client)
{
    int status = output_close_one(client, STDOUT_FILENO);
    return status == 0 ? output_close_one(client, STDERR_FILENO) : status;
}
