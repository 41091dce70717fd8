// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio part of a device (include/outboard/virtio.h): features, status, queues and
 * configuration space, and the seam by which a wire drives them.
 *
 * The wire is the virtio-pci function of the same device (virtio_pci.c) for mpqemu and vfio-user. An
 * engine that knows virtio (vhost-user) is a wire itself: it calls the functions below and never
 * touches the PCI part. The device calls the wire by a struct
 * virtio_wire. Ring addresses and those in descriptors are looked up in device_memory(), so an
 * engine whose driver uses IOVAs fills that with its IOTLB; `miss` then asks for the rest.
 *
 * Life of a queue: stopped, virtio_queue_start(), running, virtio_queue_stop() until that is true,
 * stopped. Nothing here waits: a question that takes time is asked again after any callback of the device.
 */
#ifndef OUTBOARD_DEVICE_VIRTIO_H
#define OUTBOARD_DEVICE_VIRTIO_H

#include <outboard/virtio.h>

#include "device/host.h"
#include "virtio/wire.h"

/* Where a ring is and how far it has come. Split: free-running indices; packed: places with their
 * wrap counters. */
struct virtio_place {
    uint64_t desc, driver, device; /* addresses: descriptors, available, used (or the two events) */
    uint16_t size;                 /* entries */
    uint16_t next;                 /* the driver's next chain */
    uint16_t used;                 /* the next used element */
    bool next_wrap, used_wrap;     /* packed; 1 at first */
};

/* As ob_virtio_new(), with the host that the device will use. */
int device_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                      void *state, const struct server_host *host, struct ob_device **ret_device,
                      struct ob_fault *fault);

/* Whether a device has a virtio part; the rest is for those that have. */
bool device_is_virtio(const struct ob_device *device);

/* The bytes that the marks of requests in flight take (vhost-user, "Inflight I/O tracking"). */
uint64_t virtio_inflight_len(unsigned num_queues, uint16_t queue_size, bool packed);
/* Memory for them, with zeroes in its first len bytes, for a front end to keep. Its descriptor, which
 * stays the device's, or -EINVAL: it is not that long. The fourth front end after this one gets it again. */
int virtio_inflight_take(struct ob_device *device, uint64_t len);

/* The wire drives the virtio part itself from now on; NULL: the virtio-pci function does again. */
void virtio_set_wire(struct ob_device *device, const struct virtio_wire *wire);
/* A driver of this peer works with the device: it is dormant no longer. */
void virtio_wake(struct ob_device *device);

uint16_t virtio_type(const struct ob_device *device);
/* Features that a driver may accept. */
uint64_t virtio_offered(const struct ob_device *device);
/* The driver accepts these: 0, -EINVAL when one was not offered or they contradict each other, -EBUSY
 * while a queue runs, or the device's errno. */
int virtio_negotiate(struct ob_device *device, uint64_t features);
/* DRIVER_OK, for wires that have it; else the first virtio_queue_start() stands for it. */
void virtio_driver_ok(struct ob_device *device);
/* As ob_virtio_ops.save() and load(): the device's own part. 0 bytes if it has no state. */
size_t virtio_own_state_len(const struct ob_device *device);
int virtio_save_own(struct ob_device *device, uint8_t *ret_buf, size_t size);
int virtio_load_own(struct ob_device *device, uint32_t version, const uint8_t *buf, size_t len,
                    struct ob_fault *fault);
/* Whether the device has failed (NEEDS_RESET). */
bool virtio_has_failed(const struct ob_device *device);

unsigned virtio_num_queues(const struct ob_device *device);
uint16_t virtio_queue_max_size(const struct ob_device *device, unsigned queue);

/* Starts a queue there. 0; -EINVAL for a size or an alignment that can't be, or a packed place
 * outside of the ring; -EBUSY when it runs. Whether the rings are in memory is seen when they are
 * used. The device looks for chains at once. */
int virtio_queue_start(struct ob_device *device, unsigned queue, const struct virtio_place *place);
/* Has a queue stop; a stopped one is fine. Whether it has: all chains were given back, and those
 * that were returned unused and are the newest count as not taken. If not, to be called again after
 * any callback of the device. */
bool virtio_queue_stop(struct ob_device *device, unsigned queue);
bool virtio_queue_is_running(const struct ob_device *device, unsigned queue);
/* How far a stopped queue has come. */
void virtio_queue_place(const struct ob_device *device, unsigned queue,
                        struct virtio_place *ret_place);
/* Likewise, with chains in flight that an earlier process has taken and not completed, oldest first:
 * they are taken again, before those of the ring. -EINVAL for one that can't be, -ENOSPC, -ENOMEM. */
int virtio_queue_restart(struct ob_device *device, unsigned queue, const struct virtio_place *place,
                         const struct virtio_flight *flights, unsigned num_flights);

/* The driver has notified a queue; one that does not run is fine. */
void virtio_queue_kick(struct ob_device *device, unsigned queue);
/* Misses were answered, or memory has changed: queues that stood still look again. */
void virtio_retry(struct ob_device *device);

/* The configuration space; ranges beyond its end read as zeroes and are not written. */
size_t virtio_config_len(const struct ob_device *device);
void virtio_config_read(struct ob_device *device, size_t offset, uint8_t *ret_bytes, size_t len);
void virtio_config_write(struct ob_device *device, size_t offset, const uint8_t *bytes, size_t len);

/* Resets the virtio part: all queues stop, nothing is negotiated. Whether it has been done; if not,
 * to be called again after any callback of the device. */
bool virtio_reset(struct ob_device *device);

#endif
