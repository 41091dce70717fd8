// SPDX-License-Identifier: BSD-3-Clause
#include "program/watches.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "os/event.h"

#define FIRST_SIZE 64u /* descriptors; enough for most devices */

struct watch {
    int fd;
    unsigned events;            /* enum ob_watch_event */
    struct loop_source *source; /* NULL until there is a loop */
    ob_watch_fn ready;          /* NULL: an eventfd, to be drained and told by fired */
    void (*fired)(void *argument);
    void *argument;
};

static void watch_ready(void *argument, uint32_t events)
{
    struct watch *watch = argument;
    if (!watch->ready) {
        event_drain_nowait(watch->fd);
        watch->fired(watch->argument);
        return;
    }
    unsigned ready = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        ready |= OB_WATCH_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        ready |= OB_WATCH_WRITABLE;
    watch->ready(watch->argument, ready & watch->events);
}

/* Puts a watch on the loop, once there is one, or changes its events there. */
static int update_source(struct watches *watches, struct watch *watch)
{
    uint32_t events = 0;
    if (watch->events & OB_WATCH_READABLE)
        events |= EPOLLIN;
    if (watch->events & OB_WATCH_WRITABLE)
        events |= EPOLLOUT;
    /* Each signal of an eventfd is told once. A level would be told without end to the watcher of
     * one of the peer's that draining does not empty (EFD_SEMAPHORE). */
    if (!watch->ready)
        events |= EPOLLET;
    if (!watches->loop)
        return 0;
    if (watch->source)
        return loop_change(watch->source, events);
    return loop_add(watches->loop, watch->fd, events, watch_ready, watch, &watch->source);
}

static struct watch *find(const struct watches *watches, int fd)
{
    return (size_t)fd < watches->size ? watches->by_fd[fd] : NULL;
}

/* Makes room for a descriptor: descriptors are small numbers, so a table is short. */
static int make_room(struct watches *watches, int fd)
{
    size_t size = watches->size > 0 ? watches->size : FIRST_SIZE;
    while (size <= (size_t)fd)
        size *= 2;
    if (size == watches->size)
        return 0;
    struct watch **by_fd = realloc(watches->by_fd, size * sizeof(void *));
    if (!by_fd)
        return -ENOMEM;
    memset(by_fd + watches->size, 0, (size - watches->size) * sizeof(void *));
    watches->by_fd = by_fd;
    watches->size = size;
    return 0;
}

static int add(struct watches *watches, const struct watch *model)
{
    int err = make_room(watches, model->fd);
    struct watch *watch = err == 0 ? malloc(sizeof(*watch)) : NULL;
    if (!watch)
        return -ENOMEM;
    *watch = *model;
    err = update_source(watches, watch);
    if (err < 0) {
        free(watch);
        return err;
    }
    watches->by_fd[watch->fd] = watch;
    return 0;
}

int watches_set(struct watches *watches, int fd, unsigned events, ob_watch_fn ready, void *argument)
{
    struct watch *watch = find(watches, fd);
    const struct watch model = {.fd = fd, .events = events, .ready = ready, .argument = argument};
    if (!watch)
        return add(watches, &model);
    watch->events = events;
    watch->ready = ready;
    watch->argument = argument;
    return update_source(watches, watch);
}

int watches_add_event(struct watches *watches, int fd, void (*fired)(void *argument),
                      void *argument)
{
    const struct watch model = {
        .fd = fd, .events = OB_WATCH_READABLE, .fired = fired, .argument = argument};
    return find(watches, fd) ? -EEXIST : add(watches, &model);
}

void watches_remove(struct watches *watches, int fd)
{
    struct watch *watch = find(watches, fd);
    if (!watch)
        return;
    watches->by_fd[fd] = NULL;
    loop_remove(watch->source);
    free(watch);
}

int watches_use_loop(struct watches *watches, struct loop *loop)
{
    int err = 0;
    watches->loop = loop;
    for (size_t fd = 0; fd < watches->size; fd++) {
        struct watch *watch = watches->by_fd[fd];
        if (!watch)
            continue;
        loop_remove(watch->source);
        watch->source = NULL;
        if (err == 0)
            err = update_source(watches, watch);
    }
    return err;
}

void watches_done(struct watches *watches)
{
    for (size_t fd = 0; fd < watches->size; fd++)
        watches_remove(watches, (int)fd);
    free(watches->by_fd);
    *watches = (struct watches){0};
}
