// SPDX-License-Identifier: BSD-3-Clause
#include "dialer.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "sandbox/outsider.h"

/* How long a listener that accepts nobody keeps the process after its program has gone. */
#define SLICE_MS  100u
#define NS_PER_MS UINT64_C(1000000)

static bool has_gone(int fd)
{
    struct pollfd look = {.fd = fd};
    return poll(&look, 1, 0) != 0;
}

/* As socket_connect(), until the program has gone. */
static int connect_while_wanted(int fd, const char *path, unsigned timeout_ms)
{
    const uint64_t start_ns = clock_now_ns();
    for (;;) {
        uint64_t spent_ms = (clock_now_ns() - start_ns) / NS_PER_MS;
        unsigned left_ms = spent_ms < timeout_ms ? timeout_ms - (unsigned)spent_ms : 1;
        int result = socket_connect(path, left_ms < SLICE_MS ? left_ms : SLICE_MS);
        if (result != -ETIMEDOUT || left_ms <= SLICE_MS || has_gone(fd))
            return result;
    }
}

struct dialled {
    const char *path;
    unsigned timeout_ms;
};

static int serve(int fd, const void *context)
{
    const struct dialled *dialled = context;
    const struct outsider_plan plan = {.dials_abstract = dialled->path[0] == '@'};
    char request;
    outsider_confine(&plan); /* as far as the kernel can */
    socket_child_close_others(fd);
    for (;;) {
        ssize_t got = recv(fd, &request, sizeof(request), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return EXIT_SUCCESS;
        AUTO_FD connected = connect_while_wanted(fd, dialled->path, dialled->timeout_ms);
        int32_t result = connected < 0 ? connected : 0;
        socket_send(fd, &result, sizeof(result), connected < 0 ? -1 : connected);
    }
}

int dialer_start(const char *path, unsigned timeout_ms)
{
    const struct dialled dialled = {path, timeout_ms};
    return socket_child_start(SOCK_SEQPACKET, serve, &dialled);
}

int dialer_connect(int dialer)
{
    const char request = 0;
    int32_t result = 0;
    struct received_fds fds;
    ssize_t len = socket_send(dialer, &request, sizeof(request), -1);
    if (len == sizeof(request)) {
        int err = socket_wait(dialer, POLLIN, UINT64_MAX);
        len = err < 0 ? err : socket_receive(dialer, &result, sizeof(result), &fds);
    }
    if (len != sizeof(result))
        return len == -ENOTCONN ? -EPIPE : len < 0 ? (int)len : -EPROTO;
    if (result < 0)
        return result;
    return fds.count > 0 ? fds.fd[0] : -EPROTO;
}

void dialer_end(int dialer)
{
    socket_child_end(dialer);
}
