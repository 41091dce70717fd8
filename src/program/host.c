// SPDX-License-Identifier: BSD-3-Clause
#include "program/host.h"

#include <errno.h>
#include <stdlib.h>

#include "base/sized.h"
#include "device/device.h"
#include "device/virtio.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/event.h"
#include "os/log.h"
#include "os/pipe.h"
#include "os/shared_memory.h"
#include "os/socket.h"
#include "program/watches.h"

#define NS_PER_MS UINT64_C(1000000)

struct program_host {
    struct server_host host; /* first: the part that the device knows */
    struct watches watches;
    struct device_timers timers;
    struct trace *trace;
    struct timer look; /* for look_again() */
};

static int map_memory(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
                      uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault)
{
    const char *kind;
    int err = shared_memory_check(fd, 0, &kind);
    if (err == -EMEDIUMTYPE)
        return ob_fault_set(
            fault, -EINVAL,
            "got %s, expected memfd, tmpfs or hugetlbfs; have the VMM allocate such "
            "(QEMU: memory-backend-memfd,share=on)",
            kind);
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

static int watch_event(void *context, int fd, void (*fired)(void *argument), void *argument)
{
    struct program_host *host = context;
    return watches_add_event(&host->watches, fd, fired, argument);
}

static int watch_descriptor(void *context, int fd, unsigned events, ob_watch_fn ready,
                            void *argument)
{
    struct program_host *host = context;
    return watches_set(&host->watches, fd, events, ready, argument);
}

static void unwatch(void *context, int fd)
{
    struct program_host *host = context;
    watches_remove(&host->watches, fd);
}

static int new_memory(void *context, uint64_t len, uint8_t **ret_address, int *ret_fd)
{
    return shared_memory_new("outboard-bar", len, ret_address, ret_fd);
}

static int adopt_memory(void *context, uint8_t *address, uint64_t len, int fd, int old_fd)
{
    return shared_memory_adopt(address, len, fd, old_fd);
}

static void free_memory(void *context, uint8_t *address, uint64_t len, int fd)
{
    shared_memory_free(address, len, fd);
}

static int send_bytes(void *context, int fd, const uint8_t *bytes, size_t len)
{
    ssize_t sent = socket_send(fd, bytes, len, -1);
    if (sent < 0)
        return (int)sent;
    return (size_t)sent == len ? 0 : -EAGAIN;
}

static int check_pipe(void *context, int fd)
{
    return pipe_check(fd);
}

static ssize_t read_pipe(void *context, int fd, uint8_t *ret_bytes, size_t len)
{
    return pipe_read(fd, ret_bytes, len);
}

static ssize_t write_pipe(void *context, int fd, const uint8_t *bytes, size_t len)
{
    return pipe_write(fd, bytes, len);
}

static uint64_t now_ms(void *context)
{
    return clock_now_ns() / NS_PER_MS;
}

/* The loop has woken, after which the engine looks in any case. */
static void looked(void *argument)
{
}

static void timers_ready(void *argument, unsigned events)
{
    device_timers_ready(argument);
}

static void look_again(void *context, unsigned after_ms)
{
    struct program_host *host = context;
    int fd = device_timers_open(&host->timers);
    if (fd >= 0 &&
        watches_set(&host->watches, fd, OB_WATCH_READABLE, timers_ready, &host->timers) == 0)
        device_timers_set(&host->timers, &host->look, clock_now_ns() + after_ms * NS_PER_MS);
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
        .memory_adopt = adopt_memory,
        .memory_free = free_memory,
        .send = send_bytes,
        .pipe_check = check_pipe,
        .pipe_read = read_pipe,
        .pipe_write = write_pipe,
        .now_ms = now_ms,
        .look_again = look_again,
        .close = close_descriptor,
        .warn = warn,
        .trace = write_trace,
        .context = host,
    };
    device_timers_init(&host->timers);
    timer_init(&host->look, looked, host);
}

/* The description and the callbacks as this library has them. */
static int read_author(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                       struct ob_device_desc *ret_desc, struct ob_device_ops *ret_ops,
                       struct ob_fault *fault)
{
    int err = 0;
    if (desc)
        err = sized_copy(desc, SIZED_UP_TO(struct ob_device_desc, state_version), ret_desc,
                         sizeof(*ret_desc), "ob_device_desc", fault);
    if (err == 0 && ops)
        err = sized_copy(ops, SIZED_UP_TO(struct ob_device_ops, disconnected), ret_ops,
                         sizeof(*ret_ops), "ob_device_ops", fault);
    return err;
}

/* Of the library's own; NULL: no memory. */
static struct program_host *make_host(struct ob_fault *fault)
{
    struct program_host *host = calloc(1, sizeof(*host));
    if (host)
        init_host(host);
    else
        ob_fault_set(fault, -ENOMEM, "no memory for the device");
    return host;
}

int ob_device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    if (!ret_device)
        return ob_fault_set(fault, -EINVAL, "ob_device_new(): ret_device is NULL");
    struct ob_device_desc own_desc;
    struct ob_device_ops own_ops;
    int err = read_author(desc, ops, &own_desc, &own_ops, fault);
    if (err < 0)
        return err;
    struct program_host *host = make_host(fault);
    if (!host)
        return -ENOMEM;
    err = device_new(desc ? &own_desc : NULL, ops ? &own_ops : NULL, state, &host->host, ret_device,
                     fault);
    if (err < 0)
        free(host);
    return err;
}

int ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops, void *state,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    struct ob_virtio_desc own_desc;
    struct ob_virtio_ops own_ops;
    if (!ret_device || !desc || !ops)
        return ob_fault_set(fault, -EINVAL, "ob_virtio_new(): an argument is NULL");
    int err = sized_copy(desc, SIZED_UP_TO(struct ob_virtio_desc, state_version), &own_desc,
                         sizeof(own_desc), "ob_virtio_desc", fault);
    if (err == 0)
        err = sized_copy(ops, SIZED_UP_TO(struct ob_virtio_ops, disconnected), &own_ops,
                         sizeof(own_ops), "ob_virtio_ops", fault);
    if (err < 0)
        return err;
    struct program_host *host = make_host(fault);
    if (!host)
        return -ENOMEM;
    err = device_virtio_new(&own_desc, &own_ops, state, &host->host, ret_device, fault);
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
    timer_cancel(&host->look);
    device_free(device);
    watches_done(&host->watches);
    device_timers_done(&host->timers);
    free(host);
}

void program_host_trace(struct ob_device *device, struct trace *trace)
{
    host_of(device)->trace = trace;
}

struct device_timers *program_host_timers(struct ob_device *device)
{
    return &host_of(device)->timers;
}

int program_host_use_loop(struct ob_device *device, struct loop *loop)
{
    struct watches *watches = &host_of(device)->watches;
    return loop && watches->loop ? -EBUSY : watches_use_loop(watches, loop);
}
