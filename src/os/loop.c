// SPDX-License-Identifier: BSD-3-Clause
#include "os/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/auto.h"
#include "base/list.h"
#include "os/clock.h"
#include "os/log.h"

#define EVENTS_PER_WAIT 16
#define NS_PER_MS       1000000u

struct loop_source {
    struct list link; /* among the loop's sources, or those that were removed */
    struct loop *loop;
    int fd;
    bool removed;
    loop_fn ready;
    void *argument;
};

struct loop {
    int epoll_fd;
    struct list sources;
    struct list removed; /* freed after the round of callbacks */
};

int loop_new(struct loop **ret_loop)
{
    AUTO_FD epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        return -errno;
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    loop->epoll_fd = take_fd(&epoll_fd);
    list_init(&loop->sources);
    list_init(&loop->removed);
    *ret_loop = loop;
    return 0;
}

static void free_sources(struct list *sources)
{
    while (!list_empty(sources))
        free(list_entry(list_take(sources), struct loop_source, link));
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    free_sources(&loop->sources);
    free_sources(&loop->removed);
    close(loop->epoll_fd);
    free(loop);
}

int loop_fd(const struct loop *loop)
{
    return loop->epoll_fd;
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn ready, void *argument,
             struct loop_source **ret_source)
{
    struct loop_source *source = malloc(sizeof(*source));
    if (!source)
        return -ENOMEM;
    *source = (struct loop_source){.loop = loop, .fd = fd, .ready = ready, .argument = argument};
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        int err = -errno;
        free(source);
        return err;
    }
    list_append(&loop->sources, &source->link);
    *ret_source = source;
    return 0;
}

int loop_change(struct loop_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop_source *source)
{
    if (!source || source->removed)
        return;
    epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->removed = true;
    list_remove(&source->link);
    list_append(&source->loop->removed, &source->link);
}

/* The timeout, or less when the log has something to tell before. */
static int until_log_tick(int timeout_ms)
{
    uint64_t at = log_tick();
    if (at == UINT64_MAX || timeout_ms == 0)
        return timeout_ms;
    uint64_t now = clock_now_ns();
    uint64_t ms = at > now ? (at - now) / NS_PER_MS + 1 : 0;
    return timeout_ms < 0 || ms < (uint64_t)timeout_ms ? (int)ms : timeout_ms;
}

int loop_wait(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    timeout_ms = until_log_tick(timeout_ms);
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        struct loop_source *source = events[i].data.ptr;
        if (!source->removed)
            source->ready(source->argument, events[i].events);
    }
    free_sources(&loop->removed);
    return count;
}
