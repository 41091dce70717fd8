// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/pump.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/socket.h"

void pump_init(struct pump *pump, int fd)
{
    *pump = (struct pump){.fd = fd};
}

static void on_event(void *argument, uint32_t events)
{
    struct pump *pump = argument;
    pump->readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    pump->writable |= (events & (EPOLLOUT | EPOLLERR)) != 0;
    pump->hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    pump->broken |= (events & EPOLLERR) != 0;
    pump->closed |= (events & EPOLLHUP) != 0;
    pump->ready(pump->argument, events);
}

int pump_watch(struct pump *pump, struct loop *loop, unsigned uses, loop_fn ready, void *argument)
{
    uint32_t events = EPOLLET;
    if (uses & PUMP_READS)
        events |= EPOLLIN | EPOLLRDHUP;
    if (uses & PUMP_WRITES)
        events |= EPOLLOUT;
    pump->ready = ready;
    pump->argument = argument;
    return loop_add(loop, pump->fd, events, on_event, pump, &pump->source);
}

int pump_stop(struct pump *pump)
{
    int fd = pump->fd;
    loop_remove(take_ptr(&pump->source));
    pump_init(pump, -1);
    return fd;
}

ssize_t pump_read(struct pump *pump, void *ret_bytes, size_t len)
{
    ssize_t got =
        pump->is_socket ? socket_read(pump->fd, ret_bytes, len) : read(pump->fd, ret_bytes, len);
    int err = got < 0 ? -errno : 0;
    if (err == -EAGAIN || (got >= 0 && (size_t)got < len && pump->drains && !pump->hung_up))
        pump->readable = false;
    return err < 0 ? err : got;
}

ssize_t pump_write(struct pump *pump, const struct iovec *spans, int count)
{
    ssize_t put = writev(pump->fd, spans, count);
    int err = put < 0 ? -errno : 0;
    if (err == -EAGAIN)
        pump->writable = false;
    return err < 0 ? err : put;
}
