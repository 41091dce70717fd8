// SPDX-License-Identifier: BSD-3-Clause
/* The wire of a virtio device, as the device calls it. No function of it waits. */
#ifndef OUTBOARD_VIRTIO_WIRE_H
#define OUTBOARD_VIRTIO_WIRE_H

#include <stdbool.h>
#include <stdint.h>

/* A descriptor as it was copied. */
struct virtio_desc {
    uint64_t iova;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* the id, in a packed ring */
};

/* A chain that was taken, and its place in the in-flight buffer of vhost-user. */
struct virtio_flight {
    uint16_t id;   /* of a split ring: the head */
    uint16_t mark; /* the wire's name for it */
    uint16_t num_descs;
    const struct virtio_desc
        *descs; /* of a packed ring: all that it has there; of a split one NULL */
};

/* The place behind a used element: a free-running index, or a place in a packed ring. */
struct virtio_used_place {
    uint16_t at;
    bool wrap;
};

/* Those that are marked may be NULL. */
struct virtio_wire {
    /* The driver is to look at a queue that has used chains; suppression has been asked already. */
    void (*signal_queue)(void *context, unsigned queue);
    /* The configuration space has changed; the driver is to be told. May be NULL. */
    void (*signal_config)(void *context);
    /* A range is not in device_memory(). True: it was asked for, and virtio_retry() follows, with
     * the range or without; the queue stands still meanwhile. May be NULL, as if false. */
    bool (*miss)(void *context, uint64_t iova, uint64_t len, bool write);
    /* For the in-flight buffer of vhost-user; all may be NULL. A chain was taken from the ring; its
     * mark is kept for the next two... */
    uint16_t (*taken)(void *context, unsigned queue, const struct virtio_flight *flight);
    /* ...it is about to be shown to the driver as used, behind which the ring is at `used`... */
    void (*completing)(void *context, unsigned queue, uint16_t mark, struct virtio_used_place used);
    /* ...and has been. */
    void (*completed)(void *context, unsigned queue, uint16_t mark, struct virtio_used_place used);
    void *context;
};

#endif
