// SPDX-License-Identifier: BSD-3-Clause
/* The wire of a virtio device, as the device calls it. No function of it waits. */
#ifndef OUTBOARD_VIRTIO_WIRE_H
#define OUTBOARD_VIRTIO_WIRE_H

#include <stdbool.h>
#include <stdint.h>

/* Those that are marked may be NULL. */
struct virtio_wire {
    /* The driver is to look at a queue that has used chains; suppression has been asked already. */
    void (*signal_queue)(void *context, unsigned queue);
    /* The configuration space has changed; the driver is to be told. May be NULL. */
    void (*signal_config)(void *context);
    /* A range is not in device_memory(). True: it was asked for, and virtio_retry() follows, with
     * the range or without; the queue stands still meanwhile. May be NULL, as if false. */
    bool (*miss)(void *context, uint64_t iova, uint64_t len, bool write);
    /* For the in-flight buffer of vhost-user; all may be NULL. A chain was taken from the ring... */
    void (*taken)(void *context, unsigned queue, uint16_t head);
    /* ...is about to be written to the used ring, which then shows `used` as its index... */
    void (*completing)(void *context, unsigned queue, uint16_t head, uint16_t used);
    /* ...and has been. */
    void (*completed)(void *context, unsigned queue, uint16_t head, uint16_t used);
    void *context;
};

#endif
