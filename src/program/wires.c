// SPDX-License-Identifier: BSD-3-Clause
#include "program/wires.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "os/socket.h"
#include "server/greeting.h"

const struct engine_ops *const wires[] = {&mpqemu_engine, &vfio_user_engine, NULL};

const struct engine_ops *wires_find(const char *name)
{
    for (size_t i = 0; wires[i]; i++)
        if (strcmp(name, wires[i]->wire) == 0)
            return wires[i];
    return NULL;
}

void wires_prepare(void)
{
    for (size_t i = 0; wires[i]; i++)
        if (wires[i]->prepare)
            wires[i]->prepare();
}

static void heard(void *argument, uint32_t events)
{
    *(uint32_t *)argument |= events;
}

/* Waits until the socket brings more than it had, or its end. */
static int wait_for_more(struct loop *loop, const uint32_t *events, const bool *stop)
{
    while (*events == 0) {
        int err = loop_wait(loop, -1);
        if (err < 0)
            return err;
        if (*stop)
            return -ECANCELED;
    }
    return 0;
}

/* Looks at the first bytes, which stay in the socket. 0 once the telling one is there. */
static int look(int fd, struct loop *loop, uint32_t *events, const bool *stop, uint8_t *bytes,
                size_t len)
{
    for (;;) {
        int err = wait_for_more(loop, events, stop);
        if (err < 0)
            return err;
        bool is_last = *events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        *events = 0;
        ssize_t there = socket_peek(fd, bytes, len);
        if (there == (ssize_t)len)
            return 0;
        if (there < 0 && there != -EAGAIN)
            return (int)there;
        if (is_last)
            return -ENOTCONN;
    }
}

int wires_detect(int fd, struct loop *loop, const bool *stop, const struct engine_ops **ret_wire)
{
    uint8_t bytes[GREETING_TELLS_LEN];
    uint32_t events = 0;
    struct loop_source *source;
    /* By edge: a level would stay up while a peer that stutters has sent less than it takes. */
    int err = loop_add(loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, heard, &events, &source);
    if (err < 0)
        return err;
    err = look(fd, loop, &events, stop, bytes, sizeof(bytes));
    loop_remove(source);
    if (err == 0)
        *ret_wire = greeting_judge(bytes, sizeof(bytes)).wire;
    return err;
}
