// SPDX-License-Identifier: BSD-3-Clause
#include "program/wires.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "os/socket.h"
#include "server/greeting.h"

int wires_find(const char *setting, const char *name, const struct engine_ops **ret_wire,
               struct ob_fault *fault)
{
    for (size_t i = 0; greeting_wires[i]; i++) {
        if (strcmp(name, greeting_wires[i]->wire) == 0) {
            *ret_wire = greeting_wires[i];
            return 0;
        }
    }
    return ob_fault_set(fault, -EINVAL, "%s%sgot '%.40s', expected mpqemu, vfio-user or vhost-user",
                        setting ? setting : "", setting ? ": " : "", name);
}

int wires_use_messages(const char *setting, const struct engine_ops **wire, struct ob_fault *fault)
{
    if (!*wire)
        *wire = &vfio_user_engine;
    if ((*wire)->has_dma_messages)
        return 0;
    return ob_fault_set(fault, -EINVAL,
                        "%s: got wire %s, expected vfio-user, which has messages for it", setting,
                        (*wire)->wire);
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

int wires_peek(int fd, const struct engine_ops **ret_wire, struct ob_fault *fault)
{
    uint8_t bytes[GREETING_LEN];
    ssize_t there = socket_peek(fd, bytes, sizeof(bytes));
    if (there == -EAGAIN || there == -ENOTCONN)
        return (int)there;
    if (there < 0)
        return ob_fault_set(fault, (int)there, "the peer's socket failed: %s",
                            strerror((int)-there));
    struct greeting greeting = greeting_judge(bytes, (size_t)there);
    if (!greeting.wire)
        return -EAGAIN;
    *ret_wire = greeting.wire;
    return 0;
}

/* Looks at the first bytes until they tell. */
static int look(int fd, struct loop *loop, uint32_t *events, const bool *stop,
                const struct engine_ops **ret_wire, struct ob_fault *fault)
{
    for (;;) {
        int err = wait_for_more(loop, events, stop);
        if (err < 0)
            return err == -ECANCELED
                       ? err
                       : ob_fault_set(fault, err, "can't wait for the peer: %s", strerror(-err));
        bool is_last = *events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        *events = 0;
        err = wires_peek(fd, ret_wire, fault);
        if (err != -EAGAIN)
            return err;
        if (is_last)
            return -ENOTCONN;
    }
}

int wires_detect(int fd, struct loop *loop, const bool *stop, const struct engine_ops **ret_wire,
                 struct ob_fault *fault)
{
    uint32_t events = 0;
    struct loop_source *source;
    /* By edge: a level would stay up while a peer that stutters has sent less than it takes. */
    int err = loop_add(loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, heard, &events, &source);
    if (err < 0)
        return ob_fault_set(fault, err, "the peer's socket failed: %s", strerror(-err));
    err = look(fd, loop, &events, stop, ret_wire, fault);
    loop_remove(source);
    return err;
}
