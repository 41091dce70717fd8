// SPDX-License-Identifier: BSD-3-Clause
#include "program/host.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "device/device.h"
#include "os/closer.h"
#include "os/event.h"
#include "os/log.h"
#include "os/shared_memory.h"

/* A descriptor that is watched for the device. */
struct watch {
    struct watch *next;
    int fd;
    unsigned events;            /* enum ob_watch_event */
    struct loop_source *source; /* NULL until there is a loop */
    ob_watch_fn ready;          /* NULL: an eventfd, to be drained and told by fired */
    void (*fired)(void *argument);
    void *argument;
};

struct program_host {
    struct server_host host; /* first: what the device knows of it */
    struct loop *loop;
    struct watch *watches;
    struct trace *trace;
};

static int map_memory(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
                      uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault)
{
    const char *what;
    int err = shared_memory_check(fd, 0, &what);
    if (err == -EMEDIUMTYPE)
        return ob_fault_set(
            fault, -EINVAL,
            "got %s, expected memfd, tmpfs or hugetlbfs; have the VMM allocate such "
            "(QEMU: memory-backend-memfd,share=on)",
            what);
    if (err < 0)
        return err;
    return shared_memory_map(fd, offset, len, writable, ret_address, &ret_file->device,
                             &ret_file->inode);
}

static void unmap_memory(void *context, uint8_t *address, uint64_t len)
{
    shared_memory_unmap(address);
}

static int new_event(void *context, int *ret_fd)
{
    int fd = event_new();
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

static int check_event(void *context, int fd)
{
    return event_check(fd);
}

static bool is_same_event(void *context, int one, int other)
{
    return event_is_same(one, other);
}

static void signal_event(void *context, int fd)
{
    event_signal(fd);
}

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

/* Puts a watch on the loop, once there is one, or changes what it waits for there. */
static int update_source(struct program_host *host, struct watch *watch)
{
    uint32_t events = 0;
    if (watch->events & OB_WATCH_READABLE)
        events |= EPOLLIN;
    if (watch->events & OB_WATCH_WRITABLE)
        events |= EPOLLOUT;
    /* Each signal of an eventfd is told once. A level would be told without end to whoever watches
     * one of the peer's that draining does not empty (EFD_SEMAPHORE). */
    if (!watch->ready)
        events |= EPOLLET;
    if (!host->loop)
        return 0;
    if (watch->source)
        return loop_change(watch->source, events);
    return loop_add(host->loop, watch->fd, events, watch_ready, watch, &watch->source);
}

static int add_watch(struct program_host *host, const struct watch *model)
{
    struct watch *watch = malloc(sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    *watch = *model;
    int err = update_source(host, watch);
    if (err < 0) {
        free(watch);
        return err;
    }
    watch->next = host->watches;
    host->watches = watch;
    return 0;
}

static int watch_event(void *context, int fd, void (*fired)(void *argument), void *argument)
{
    const struct watch watch = {
        .fd = fd, .events = OB_WATCH_READABLE, .fired = fired, .argument = argument};
    return add_watch(context, &watch);
}

static int watch_descriptor(void *context, int fd, unsigned events, ob_watch_fn ready,
                            void *argument)
{
    struct program_host *host = context;
    for (struct watch *watch = host->watches; watch; watch = watch->next) {
        if (watch->fd != fd)
            continue;
        watch->events = events;
        watch->ready = ready;
        watch->argument = argument;
        return update_source(host, watch);
    }
    const struct watch watch = {.fd = fd, .events = events, .ready = ready, .argument = argument};
    return add_watch(host, &watch);
}

static void unwatch(void *context, int fd)
{
    struct program_host *host = context;
    for (struct watch **link = &host->watches; *link; link = &(*link)->next) {
        struct watch *watch = *link;
        if (watch->fd != fd)
            continue;
        *link = watch->next;
        loop_remove(watch->source);
        free(watch);
        return;
    }
}

static int new_memory(void *context, uint64_t len, uint8_t **ret_address, int *ret_fd)
{
    return shared_memory_new("outboard-bar", len, ret_address, ret_fd);
}

static void free_memory(void *context, uint8_t *address, uint64_t len, int fd)
{
    shared_memory_free(address, len, fd);
}

static void close_descriptor(void *context, int fd)
{
    closer_close(fd);
}

static void warn(void *context, const char *kind, const char *sentence)
{
    log_line_of(kind, sentence);
}

static void write_trace(void *context, const char *line)
{
    const struct program_host *host = context;
    trace_write(host->trace, line);
}

static void init_host(struct program_host *host)
{
    host->host = (struct server_host){
        .memory = {.map = map_memory, .unmap = unmap_memory, .context = host},
        .event_new = new_event,
        .event_check = check_event,
        .event_is_same = is_same_event,
        .event_signal = signal_event,
        .event_watch = watch_event,
        .event_unwatch = unwatch,
        .watch = watch_descriptor,
        .unwatch = unwatch,
        .memory_new = new_memory,
        .memory_free = free_memory,
        .close = close_descriptor,
        .warn = warn,
        .trace = write_trace,
        .context = host,
    };
}

int ob_device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    if (!ret_device)
        return ob_fault_set(fault, -EINVAL, "there is no place for the device: ret_device is NULL");
    struct program_host *host = calloc(1, sizeof(*host));
    if (!host)
        return ob_fault_set(fault, -ENOMEM, "no memory for the device");
    init_host(host);
    int err = device_new(desc, ops, state, &host->host, ret_device, fault);
    if (err < 0)
        free(host);
    return err;
}

static struct program_host *host_of(struct ob_device *device)
{
    return device_host(device)->context;
}

void ob_device_free(struct ob_device *device)
{
    if (!device)
        return;
    struct program_host *host = host_of(device);
    device_free(device);
    while (host->watches)
        unwatch(host, host->watches->fd);
    free(host);
}

void program_host_trace(struct ob_device *device, struct trace *trace)
{
    host_of(device)->trace = trace;
    device_trace_on(device);
}

int program_host_use_loop(struct ob_device *device, struct loop *loop)
{
    struct program_host *host = host_of(device);
    int err = 0;
    host->loop = loop;
    for (struct watch *watch = host->watches; watch && err == 0; watch = watch->next)
        err = update_source(host, watch);
    return err;
}
