// SPDX-License-Identifier: BSD-3-Clause
/* The configuration space of a virtio device, and its generation: virtio 1.2, section 2.5. */
#include <string.h>

#include "device/internal.h"
#include "device/virtio_part.h"

bool virtio_config_refresh(struct device_virtio *virtio)
{
    uint8_t *now = virtio->config.bytes + virtio->config.len;
    if (virtio->config.len == 0 || !virtio->ops.config)
        return false;
    memset(now, 0, virtio->config.len);
    virtio->ops.config(virtio->state, now);
    if (memcmp(now, virtio->config.bytes, virtio->config.len) == 0)
        return false;
    memcpy(virtio->config.bytes, now, virtio->config.len);
    virtio->config.generation++;
    return true;
}

size_t virtio_config_len(const struct ob_device *device)
{
    return device->virtio->config.len;
}

/* How many of len bytes from offset there are. */
static size_t inside(const struct device_virtio *virtio, size_t offset, size_t len)
{
    const size_t left = offset < virtio->config.len ? virtio->config.len - offset : 0;
    return len < left ? len : left;
}

void virtio_config_read(struct ob_device *device, size_t offset, uint8_t *ret_bytes, size_t len)
{
    struct device_virtio *virtio = device->virtio;
    const size_t there = inside(virtio, offset, len);
    virtio_config_refresh(virtio);
    memset(ret_bytes, 0, len);
    if (there > 0)
        memcpy(ret_bytes, virtio->config.bytes + offset, there);
}

/* A change by the driver itself is no news to it. */
void virtio_config_write(struct ob_device *device, size_t offset, const uint8_t *bytes, size_t len)
{
    struct device_virtio *virtio = device->virtio;
    const size_t there = inside(virtio, offset, len);
    if (there > 0 && virtio->ops.config_written)
        virtio->ops.config_written(virtio->state, offset, bytes, there);
    virtio_config_refresh(virtio);
}

void ob_virtio_config_changed(struct ob_device *device)
{
    if (!device || !device->virtio)
        return;
    struct device_virtio *virtio = device->virtio;
    virtio_config_refresh(virtio);
    if (virtio->driver_ok && virtio->wire->signal_config)
        virtio->wire->signal_config(virtio->wire->context);
}
