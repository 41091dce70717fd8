// SPDX-License-Identifier: BSD-3-Clause
#include "ready.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"

void bench_ready_open(struct bench_ready *ready)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(ready->path, sizeof(ready->path), "@outboard-bench-%d", (int)getpid());
    memcpy(address.sun_path + 1, ready->path + 1, (size_t)len - 1);
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
    ready->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ready->fd < 0 || bind(ready->fd, (struct sockaddr *)&address, address_len) < 0)
        bench_die("can't listen for READY=1: %s", strerror(errno));
}

double bench_ready_wait(const struct bench_ready *ready, const struct bench_process *process)
{
    char text[512] = "";
    while (!strstr(text, "READY=1")) {
        ssize_t got = recv(ready->fd, text, sizeof(text) - 1, 0);
        text[got > 0 ? got : 0] = '\0';
    }
    return (double)(clock_now_ns() - process->started_ns) / 1e6;
}

void bench_ready_close(struct bench_ready *ready)
{
    close(ready->fd);
}
