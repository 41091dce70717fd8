// SPDX-License-Identifier: BSD-3-Clause
/* The core's functions for authors, engines and the parts of a device. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

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

bool device_traces(const struct ob_device *device)
{
    return device->traces;
}

void device_trace_on(struct ob_device *device)
{
    device->traces = true;
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
