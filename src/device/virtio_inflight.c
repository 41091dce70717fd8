// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory for the marks of requests in flight, which a front end of vhost-user keeps.
 *
 * It is made with the device: afterwards a process in its cell makes no memory for others any more.
 * A front end may hold its memory for as long as it likes. So there are several, which are handed
 * out in turn.
 */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "device/internal.h"
#include "device/virtio_part.h"

/* The header and each entry have the same length. */
#define ALIGNMENT  64u
#define SPLIT_LEN  16u
#define PACKED_LEN 32u

uint64_t virtio_inflight_len(unsigned num_queues, uint16_t queue_size, bool packed)
{
    uint64_t len = (1 + (uint64_t)queue_size) * (packed ? PACKED_LEN : SPLIT_LEN);
    return num_queues * ((len + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1));
}

int virtio_inflight_make(struct device_virtio *virtio, const struct server_host *host)
{
    struct virtio_inflight *inflight = &virtio->inflight;
    unsigned num_queues =
        virtio->num_queues < LIMIT_VHOST_USER_RINGS ? virtio->num_queues : LIMIT_VHOST_USER_RINGS;
    inflight->len = virtio_inflight_len(num_queues, OB_VIRTIO_QUEUE_SIZE, true);
    for (; inflight->count < VIRTIO_INFLIGHT_MEMORIES; inflight->count++) {
        struct virtio_inflight_memory *memory = &inflight->memories[inflight->count];
        int err = host->memory_new(host->context, inflight->len, &memory->address, &memory->fd);
        if (err < 0)
            return err;
    }
    return 0;
}

void virtio_inflight_free(struct device_virtio *virtio, const struct server_host *host)
{
    struct virtio_inflight *inflight = &virtio->inflight;
    while (inflight->count > 0) {
        const struct virtio_inflight_memory *memory = &inflight->memories[--inflight->count];
        host->memory_free(host->context, memory->address, inflight->len, memory->fd);
    }
}

int virtio_inflight_take(struct ob_device *device, uint64_t len)
{
    struct virtio_inflight *inflight = &device->virtio->inflight;
    const struct virtio_inflight_memory *memory =
        &inflight->memories[inflight->next++ % VIRTIO_INFLIGHT_MEMORIES];
    if (len > inflight->len)
        return -EINVAL;
    memset(memory->address, 0, len);
    return memory->fd;
}
