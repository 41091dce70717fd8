// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/child_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/log.h"

#define REST_NS 10000000u

struct child_log {
    const char *name;
    int fd;
    struct loop_source *source;
    struct timers *timers;
    struct timer rest;              /* of one that has written as much as a turn takes */
    char kind[LIMIT_DEVICE_ID + 8]; /* of the lines, so that each child has a rate of its own */
    char line[LIMIT_CHILD_LINE];
    size_t len;
};

static void put_line(struct child_log *log)
{
    char text[LIMIT_DEVICE_ID + LIMIT_CHILD_LINE + 3];
    snprintf(text, sizeof(text), "%s: %.*s", log->name, (int)log->len, log->line);
    if (log->len > 0)
        log_line_of(log->kind, text);
    log->len = 0;
}

static void take(struct child_log *log, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || log->len == sizeof(log->line))
            put_line(log);
        if (bytes[i] != '\n')
            log->line[log->len++] = bytes[i] ? bytes[i] : '?';
    }
}

/* A turn is bounded, so that a child that writes without end stops nobody else. */
static bool read_turn(struct child_log *log)
{
    char bytes[LIMIT_CHILD_LINE];
    ssize_t len = 1;
    for (int i = 0; i < 16 && len > 0; i++) {
        len = read(log->fd, bytes, sizeof(bytes));
        if (len > 0)
            take(log, bytes, (size_t)len);
    }
    return len > 0;
}

static void on_rested(void *argument)
{
    struct child_log *log = argument;
    loop_change(log->source, EPOLLIN);
}

static void on_bytes(void *argument, uint32_t events)
{
    struct child_log *log = argument;
    bool more = read_turn(log);
    if (more) {
        loop_change(log->source, 0);
        timer_set(log->timers, &log->rest, clock_now_ns() + REST_NS);
    }
    if (!more && (events & (EPOLLHUP | EPOLLERR))) {
        loop_remove(log->source);
        log->source = NULL;
    }
}

int child_log_adopt(struct loop *loop, struct timers *timers, const char *name, int fd,
                    struct child_log **ret_log)
{
    AUTO_FREE struct child_log *log = calloc(1, sizeof(*log));
    if (!log)
        return -ENOMEM;
    log->name = name;
    log->timers = timers;
    timer_init(&log->rest, on_rested, log);
    snprintf(log->kind, sizeof(log->kind), "%s: line", name);
    int err = loop_add(loop, fd, EPOLLIN, on_bytes, log, &log->source);
    if (err < 0)
        return err;
    log->fd = fd;
    *ret_log = take_ptr(&log);
    return 0;
}

int child_log_new(struct loop *loop, struct timers *timers, const char *name,
                  struct child_log **ret_log, int *ret_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    AUTO_FD theirs = ends[1];
    /* The child's end blocks: no line is lost while our turn is due. */
    if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    int err = child_log_adopt(loop, timers, name, ours, ret_log);
    if (err < 0)
        return err;
    take_fd(&ours);
    *ret_fd = take_fd(&theirs);
    return 0;
}

int child_log_fd(const struct child_log *log)
{
    return log->fd;
}

void child_log_free(struct child_log *log)
{
    if (!log)
        return;
    timer_cancel(&log->rest);
    read_turn(log);
    put_line(log);
    loop_remove(log->source);
    close(log->fd);
    free(log);
}
