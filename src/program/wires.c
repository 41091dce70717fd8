// SPDX-License-Identifier: BSD-3-Clause
#include "program/wires.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "os/socket.h"
#include "server/greeting.h"

const struct engine_ops *wires_find(const char *name)
{
    for (size_t i = 0; greeting_wires[i]; i++)
        if (strcmp(name, greeting_wires[i]->wire) == 0)
            return greeting_wires[i];
    return NULL;
}

void wires_prepare(void)
{
    for (size_t i = 0; greeting_wires[i]; i++)
        if (greeting_wires[i]->prepare)
            greeting_wires[i]->prepare();
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

/* Looks at the first bytes, which stay in the socket. 0 once they tell the wire. */
static int look(int fd, struct loop *loop, uint32_t *events, const bool *stop,
                struct greeting *ret_greeting)
{
    uint8_t bytes[GREETING_LEN];
    for (;;) {
        int err = wait_for_more(loop, events, stop);
        if (err < 0)
            return err;
        bool is_last = *events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        *events = 0;
        ssize_t there = socket_peek(fd, bytes, sizeof(bytes));
        if (there < 0 && there != -EAGAIN)
            return (int)there;
        *ret_greeting = greeting_judge(bytes, there < 0 ? 0 : (size_t)there);
        if (ret_greeting->wire || ret_greeting->unserved)
            return 0;
        if (is_last)
            return -ENOTCONN;
    }
}

int wires_refuse(const char *unserved, struct ob_fault *fault)
{
    return ob_fault_set(fault, -EPROTONOSUPPORT,
                        "the peer speaks %s, which this program does not; connect one that speaks "
                        "mpqemu (QEMU: x-pci-proxy-dev) or vfio-user (QEMU: vfio-user-pci)",
                        unserved);
}

int wires_detect(int fd, struct loop *loop, const bool *stop, const struct engine_ops **ret_wire,
                 struct ob_fault *fault)
{
    struct greeting greeting = {0};
    uint32_t events = 0;
    struct loop_source *source;
    /* By edge: a level would stay up while a peer that stutters has sent less than it takes. */
    int err = loop_add(loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, heard, &events, &source);
    if (err == 0) {
        err = look(fd, loop, &events, stop, &greeting);
        loop_remove(source);
    }
    if (err == -ENOTCONN || err == -ECANCELED)
        return err;
    if (err < 0)
        return ob_fault_set(fault, err, "the peer's socket failed: %s", strerror(-err));
    if (!greeting.wire)
        return wires_refuse(greeting.unserved, fault);
    *ret_wire = greeting.wire;
    return 0;
}
