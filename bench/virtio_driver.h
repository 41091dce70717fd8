// SPDX-License-Identifier: BSD-3-Clause
/*
 * A small driver of a virtio-pci function over vfio-user: split rings without event indices, chains
 * of one descriptor, one MSI-X vector for all rings.
 *
 * Descriptor n of a ring has buffer n. It does what QEMU and Linux's drivers do, and blocks until the
 * interrupt.
 */
#ifndef OUTBOARD_BENCH_VIRTIO_DRIVER_H
#define OUTBOARD_BENCH_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/client.h>

struct virtio_ring {
    unsigned number, size;
    uint64_t at; /* descriptors; the two rings follow */
    uint64_t buffers;
    uint32_t buffer_len;
    uint64_t doorbell;   /* in the notification BAR */
    uint16_t avail;      /* free-running */
    uint16_t told_avail; /* the device was kicked for these */
    uint16_t used;
    unsigned free_count; /* buffers that are the driver's */
    uint16_t free[256];
};

struct virtio_driver {
    struct ob_client *client;
    uint8_t *memory; /* the guest's, from address 0 on */
    uint64_t memory_len, memory_used;
    int memory_fd;
    int call_fd;
    unsigned bar;
    uint64_t common, notify;
    uint32_t notify_multiplier;
};

/* Takes over a connection with a device, and accepts these features. Ends the bench when something fails. */
void virtio_driver_start(struct virtio_driver *driver, int fd, uint64_t features,
                         uint64_t memory_len);
/* Sets a queue up: buffers of this length. Between start and go. */
void virtio_driver_add(struct virtio_driver *driver, struct virtio_ring *ring, unsigned number,
                       unsigned size, uint32_t buffer_len);
void virtio_driver_go(struct virtio_driver *driver);
void virtio_driver_stop(struct virtio_driver *driver);

/* A buffer's memory. */
uint8_t *virtio_ring_buffer(const struct virtio_driver *driver, const struct virtio_ring *ring,
                            unsigned buffer);
/* Makes a buffer of the driver's available; the device is not told. */
void virtio_ring_put(struct virtio_driver *driver, struct virtio_ring *ring, unsigned buffer,
                     uint32_t len, bool device_writes);
/* Kicks the device for what was put, if it wants that. */
void virtio_ring_kick(struct virtio_driver *driver, struct virtio_ring *ring);
/* The next buffer that came back, which is the driver's again. False: none at present. */
bool virtio_ring_take(const struct virtio_driver *driver, struct virtio_ring *ring,
                      unsigned *ret_buffer, uint32_t *ret_len);
/* Blocks until an interrupt. */
void virtio_driver_wait(const struct virtio_driver *driver);

#endif
