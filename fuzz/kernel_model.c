// SPDX-License-Identifier: BSD-3-Clause
#include "kernel_model.h"

#include "check.h"

#include <errno.h>
#include <string.h>

struct kernel kernel;
const struct kernel_ops *kernel_ops;

void kernel_begin(const struct kernel_ops *ops, size_t capacity, unsigned limit)
{
    kernel_ops = ops;
    kernel =
        (struct kernel){.capacity = capacity, .limit = limit, .now_ns = 1000000000, .progress = 1};
}

void kernel_end(void)
{
    kernel_ops = NULL;
}

void kernel_wake(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (descriptor)
        descriptor->edge = true;
}

void end_pair(enum end_kind kind, struct end *ret_ends[2])
{
    for (int i = 0; i < 2; i++) {
        ret_ends[i] = calloc(1, sizeof(struct end));
        *ret_ends[i] = (struct end){
            .kind = kind, .holders = 1, .capacity = kernel.capacity, .fd = -1, .is_writer = i};
        ret_ends[i]->bytes = malloc(kernel.capacity);
    }
    ret_ends[0]->peer = ret_ends[1];
    ret_ends[1]->peer = ret_ends[0];
}

void end_hold(struct end *end)
{
    end->holders++;
}

/* What was not read, and who asks for it, resets a connection; a pipe and a terminal have no reset.
 */
static void part(struct end *end)
{
    struct end *peer = end->peer;
    bool resets =
        end->kind == END_TCP ? end->abrupt || end->len > 0 : end->kind == END_UNIX && end->len > 0;
    if (!peer)
        return;
    peer->ended = true;
    if (resets)
        peer->error = ECONNRESET;
    peer->was_reset = resets;
    peer->peer = NULL;
    kernel_wake(peer->fd);
    if (peer->unopened)
        end_release(peer);
}

void end_release(struct end *end)
{
    if (!end || --end->holders > 0)
        return;
    kernel.progress++;
    part(end);
    free(end->bytes);
    free(end);
}

size_t end_room(const struct end *end)
{
    return end->peer ? end->peer->capacity - end->peer->len : 0;
}

static int write_error(struct end *end)
{
    int error = end->error;
    end->error = 0;
    if (error)
        return -error;
    return end->kind == END_TERMINAL ? -EIO : -EPIPE;
}

static void append(struct end *end, const uint8_t *bytes, size_t len)
{
    if (end->start + end->len + len > end->capacity) {
        memmove(end->bytes, end->bytes + end->start, end->len);
        end->start = 0;
    }
    memcpy(end->bytes + end->start + end->len, bytes, len);
    end->len += len;
}

ssize_t end_write(struct end *end, const void *bytes, size_t len)
{
    struct end *peer = end->peer;
    if (!peer || end->shut || end->error)
        return write_error(end);
    size_t room = end_room(end), some = len < room ? len : room;
    if (kernel.short_write && end->fd >= 0 && some > kernel.short_write) {
        some = kernel.short_write;
        kernel.short_write = 0;
        kernel_wake(end->fd); /* there is room, so this is told too */
    }
    if (some < len)
        end->wants_room = true;
    if (some == 0)
        return len ? -EAGAIN : 0;
    append(peer, bytes, some);
    kernel.progress++;
    kernel_wake(peer->fd);
    return (ssize_t)some;
}

static ssize_t read_empty(struct end *end)
{
    int error = end->error;
    end->error = 0;
    if (error)
        return -error;
    if (end->ended && end->kind == END_TERMINAL)
        return -EIO;
    return end->ended ? 0 : -EAGAIN;
}

ssize_t end_read(struct end *end, void *bytes, size_t len, bool peek)
{
    size_t some = len < end->len ? len : end->len;
    if (end->len == 0)
        return len ? read_empty(end) : 0;
    memcpy(bytes, end->bytes + end->start, some);
    if (peek)
        return (ssize_t)some;
    end->start += some;
    end->len -= some;
    kernel.progress++;
    if (end->peer && end->peer->wants_room) {
        end->peer->wants_room = false;
        kernel_wake(end->peer->fd);
    }
    return (ssize_t)some;
}

void end_shutdown(struct end *end)
{
    if (end->shut)
        return;
    end->shut = true;
    kernel.progress++;
    kernel_wake(end->fd);
    if (end->peer) {
        end->peer->ended = true;
        kernel_wake(end->peer->fd);
    }
}

struct descriptor *kernel_find(int fd)
{
    int index = fd - KERNEL_FD_FIRST;
    if (index < 0 || index >= KERNEL_FDS || kernel.table[index].kind == DESCRIPTOR_FREE)
        return NULL;
    return &kernel.table[index];
}

int kernel_open(enum descriptor_kind kind, int family)
{
    if (kernel.open >= kernel.limit)
        return -EMFILE;
    for (int i = 0; i < KERNEL_FDS; i++) {
        if (kernel.table[i].kind != DESCRIPTOR_FREE)
            continue;
        kernel.table[i] = (struct descriptor){.kind = kind, .family = family};
        kernel.open++;
        return KERNEL_FD_FIRST + i;
    }
    return -EMFILE;
}

void kernel_attach(int fd, struct end *end)
{
    struct descriptor *descriptor = kernel_find(fd);
    descriptor->kind = DESCRIPTOR_END;
    descriptor->end = end;
    end->fd = fd;
}

void kernel_close(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    CHECK(descriptor);
    if (descriptor->end)
        descriptor->end->fd = -1;
    end_release(descriptor->end);
    for (unsigned i = 0; i < descriptor->count && descriptor->kind == DESCRIPTOR_LISTENER; i++) {
        descriptor->waiting[i]->abrupt = true;
        end_release(descriptor->waiting[i]);
    }
    *descriptor = (struct descriptor){0};
    kernel.open--;
    kernel.progress++;
}

static enum end_kind kind_of(const struct descriptor *descriptor)
{
    return descriptor->family == AF_UNIX ? END_UNIX : END_TCP;
}

struct end *kernel_visit(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    struct end *ends[2];
    if (descriptor->count == KERNEL_BACKLOG)
        return NULL;
    end_pair(kind_of(descriptor), ends);
    descriptor->waiting[descriptor->count++] = ends[0];
    kernel.progress++;
    kernel_wake(fd);
    return ends[1];
}

struct end *kernel_connected(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    struct end *ends[2];
    end_pair(kind_of(descriptor), ends);
    kernel_attach(fd, ends[0]);
    kernel.progress++;
    kernel_wake(fd);
    return ends[1];
}

void kernel_refused(int fd, int error)
{
    struct descriptor *descriptor = kernel_find(fd);
    descriptor->kind = DESCRIPTOR_SOCKET;
    descriptor->error = error;
    kernel.progress++;
    kernel_wake(fd);
}

static uint32_t pipe_events(const struct end *end)
{
    if (end->is_writer)
        return !end->peer ? EPOLLERR | EPOLLOUT : end_room(end) ? EPOLLOUT : 0;
    return (end->len ? EPOLLIN : 0) | (end->ended ? EPOLLHUP : 0);
}

static uint32_t end_events(const struct end *end)
{
    uint32_t events = end->len || end->ended || end->error ? EPOLLIN : 0;
    if (end->kind == END_PIPE)
        return pipe_events(end);
    if (end->error)
        return events | EPOLLERR | EPOLLHUP | EPOLLRDHUP | EPOLLOUT;
    if (!end->peer || end_room(end))
        events |= EPOLLOUT;
    if (end->ended && end->kind <= END_UNIX)
        events |= EPOLLRDHUP;
    if ((end->ended && end->shut) || (!end->peer && end->kind != END_TCP))
        events |= EPOLLHUP;
    return events;
}

static uint32_t events_of(const struct descriptor *descriptor)
{
    switch (descriptor->kind) {
    case DESCRIPTOR_END:
        return end_events(descriptor->end);
    case DESCRIPTOR_LISTENER:
    case DESCRIPTOR_EVENT:
        return descriptor->count ? EPOLLIN : 0;
    case DESCRIPTOR_SOCKET:
        return descriptor->error ? EPOLLERR | EPOLLHUP | EPOLLOUT | EPOLLIN : EPOLLHUP | EPOLLOUT;
    default:
        return 0;
    }
}

/* What the watcher of a descriptor is told now. */
static uint32_t events_to_tell(const struct descriptor *descriptor)
{
    if (!descriptor->watched || (descriptor->events & EPOLLET && !descriptor->edge))
        return 0;
    return events_of(descriptor) & (descriptor->events | EPOLLERR | EPOLLHUP) & ~EPOLLET;
}

bool kernel_has_events(void)
{
    for (unsigned i = 0; i < KERNEL_FDS; i++)
        if (events_to_tell(&kernel.table[i]))
            return true;
    return false;
}

int kernel_events(struct epoll_event *ret_events, int max)
{
    int count = 0;
    for (unsigned i = 0; i < KERNEL_FDS && count < max; i++) {
        struct descriptor *descriptor = &kernel.table[(i + kernel.order) % KERNEL_FDS];
        uint32_t events = events_to_tell(descriptor);
        if (!events)
            continue;
        descriptor->edge = false;
        ret_events[count++] = (struct epoll_event){.events = events, .data.ptr = descriptor->data};
    }
    return count;
}
