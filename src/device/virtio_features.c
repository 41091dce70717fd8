// SPDX-License-Identifier: BSD-3-Clause
/* The agreement of driver and device, and its end: virtio 1.2, sections 2.1 and 2.2. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "device/internal.h"
#include "device/virtio_part.h"

bool device_is_virtio(const struct ob_device *device)
{
    return device->virtio;
}

uint16_t virtio_type(const struct ob_device *device)
{
    return device->virtio->type;
}

uint64_t virtio_offered(const struct ob_device *device)
{
    return device->virtio->offered;
}

uint64_t ob_virtio_features(const struct ob_device *device)
{
    return device && device->virtio ? device->virtio->accepted : 0;
}

int virtio_negotiate(struct ob_device *device, uint64_t features)
{
    struct device_virtio *virtio = device->virtio;
    /* Of the wire's own accord: an engine whose driver uses IOVAs offers it. */
    const uint64_t known =
        virtio->offered | (virtio_is_on_pci(virtio) ? 0 : VIRTIO_ACCESS_PLATFORM);
    if (features & ~known)
        return -EINVAL;
    for (unsigned i = 0; i < virtio->num_queues; i++)
        if (virtio->queues[i].life != QUEUE_STOPPED)
            return -EBUSY;
    if (virtio->ops.negotiated) {
        int err = virtio->ops.negotiated(virtio->state, features);
        if (err < 0)
            return err;
    }
    virtio->accepted = features;
    virtio->negotiated = true;
    return 0;
}

void virtio_driver_ok(struct ob_device *device)
{
    struct device_virtio *virtio = device->virtio;
    if (virtio->driver_ok)
        return;
    virtio->driver_ok = true;
    if (virtio->ops.started)
        virtio->ops.started(virtio->state);
}

bool virtio_has_failed(const struct ob_device *device)
{
    return device->virtio->status & VIRTIO_NEEDS_RESET;
}

/* 2.1.2: the driver learns of it by a configuration change, if it has set DRIVER_OK. */
void virtio_fail(struct device_virtio *virtio, const char *reason)
{
    if (virtio->status & VIRTIO_NEEDS_RESET)
        return;
    ob_device_warn(virtio->device, "the device is stopped until its driver resets it: %s", reason);
    virtio->status |= VIRTIO_NEEDS_RESET;
    if (virtio->driver_ok && virtio->wire->signal_config)
        virtio->wire->signal_config(virtio->wire->context);
}

void ob_virtio_fail(struct ob_device *device, const char *format, ...)
{
    char reason[OB_FAULT_TEXT_LEN];
    va_list args;
    if (!device || !device->virtio || !format)
        return;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    virtio_fail(device->virtio, reason);
}

size_t virtio_own_state_len(const struct ob_device *device)
{
    return device->virtio->ops.save ? device->virtio->own.state_len : 0;
}

int virtio_save_own(struct ob_device *device, uint8_t *ret_buf, size_t size)
{
    struct device_virtio *virtio = device->virtio;
    const size_t len = virtio_own_state_len(device);
    if (len == 0)
        return 0;
    return size < len ? -ENOSPC : virtio->ops.save(virtio->state, ret_buf, len);
}

int virtio_load_own(struct ob_device *device, uint32_t version, const uint8_t *buf, size_t len,
                    struct ob_fault *fault)
{
    struct device_virtio *virtio = device->virtio;
    if (virtio->ops.load)
        return virtio->ops.load(virtio->state, version, buf, len, fault);
    return len == 0 ? 0
                    : ob_fault_set(fault, -EINVAL, "%s: got a state of %zu bytes, expected none",
                                   device->name, len);
}
