// SPDX-License-Identifier: BSD-3-Clause
/* The core's functions for authors, engines and the parts of a device. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/statistics.h"
#include "device/internal.h"

const char *device_name(const struct ob_device *device)
{
    return device->name;
}

const struct server_host *device_host(const struct ob_device *device)
{
    return device->host;
}

struct memory *device_memory(struct ob_device *device)
{
    return &device->memory;
}

void device_set_messenger(struct ob_device *device, const struct device_messenger *messenger)
{
    device->messenger = messenger;
}

void device_set_statistics(struct ob_device *device, struct statistics *statistics)
{
    device->statistics = statistics;
}

struct statistics *device_statistics(const struct ob_device *device)
{
    return device->statistics;
}

bool ob_device_counts_io(const struct ob_device *device)
{
    return device && device->statistics;
}

void ob_device_count_io(struct ob_device *device, enum ob_io_kind kind, uint64_t len,
                        uint64_t duration_ns)
{
    struct statistics *statistics = device ? device->statistics : NULL;
    if (!statistics)
        return;
    switch (kind) {
    case OB_IO_READ:
        statistics_add(&statistics->reads, 1);
        statistics_add(&statistics->bytes_read, len);
        break;
    case OB_IO_WRITE:
        statistics_add(&statistics->writes, 1);
        statistics_add(&statistics->bytes_written, len);
        break;
    default:
        statistics_add(&statistics->others, 1);
        break;
    }
    statistics_time(&statistics->io, duration_ns);
}

bool device_traces(const struct ob_device *device)
{
    return device->traces;
}

void device_trace(struct ob_device *device, bool traces)
{
    device->traces = traces;
}

void device_begin_serving(struct ob_device *device)
{
    device->served = true;
}

int ob_device_watch(struct ob_device *device, int fd, unsigned events, ob_watch_fn ready,
                    void *argument)
{
    const unsigned known = OB_WATCH_READABLE | OB_WATCH_WRITABLE;
    if (!device || !ready || !events || events & ~known)
        return -EINVAL;
    if (fd < 0)
        return -EBADF;
    return device->host->watch(device->host->context, fd, events, ready, argument);
}

void ob_device_unwatch(struct ob_device *device, int fd)
{
    if (device && fd >= 0)
        device->host->unwatch(device->host->context, fd);
}

void ob_device_warn(struct ob_device *device, const char *format, ...)
{
    char sentence[OB_FAULT_TEXT_LEN];
    va_list args;
    if (!device || !format)
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    device->host->warn(device->host->context, format, sentence);
}
