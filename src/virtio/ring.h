// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ring: a virtqueue in guest memory as the device's side of it, split or packed.
 *
 * The driver may be hostile, and may write at any time. Each field of the ring is read once, into a
 * copy, and the copy is checked. Every walk is bounded by the ring's size or
 * by LIMIT_VIRTIO_SEGMENTS. A ring that breaks a rule makes a function return -EPROTO with the
 * fault filled; the owner then uses it no more.
 *
 * Where the parts of the ring lie in this process is looked up when memory.generation has changed.
 * A part that is not in memory makes a function return the errno of the look-up with ring->missing
 * filled, and nothing has happened then.
 *
 * Memory order (2.7.13, 2.8.21). The driver writes a chain, then its mark: avail.idx, or the flags
 * of a packed descriptor. The device reads the mark with acquire, then the chain. It writes a used
 * element, then its mark with release. Suppression is Dekker's problem, twice. A side that has set a
 * mark reads the other's wish; a side that has set its wish reads the mark once more. Each has a
 * full barrier in between (models/virtqueue.pml).
 */
#ifndef OUTBOARD_VIRTIO_RING_H
#define OUTBOARD_VIRTIO_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "memory/memory.h"
#include "virtio/wire.h"

/* A part of the ring, or a table beside it. */
struct virtio_range {
    uint64_t iova;
    uint64_t len;
    bool write;
};

struct virtio_ring {
    struct memory *memory;
    uint64_t desc, driver, device; /* addresses of the three parts, 2.7 and 2.8 */
    uint8_t *desc_at, *driver_at, *device_at;
    unsigned generation; /* of memory, when these were looked up */
    bool looked_up;
    bool packed;
    bool event_idx;
    bool indirect;
    uint16_t size;
    uint16_t next; /* the driver's next chain: a free-running index, or a place in a packed ring */
    uint16_t used; /* the next used element, likewise */
    bool next_wrap, used_wrap;
    uint32_t unsignalled; /* used elements, or places, since the driver was last asked if it wants
                             an interrupt */
    bool asked;           /* it was asked before */
    struct virtio_range missing;
};

struct virtio_segment {
    uint64_t iova;
    uint32_t len;
    bool write;
};

/* A chain as it was read: the segments that it consists of, those that write last. */
struct virtio_fetched {
    uint16_t id;    /* for the used element */
    uint16_t at;    /* ring->next when it was read, and its wrap counter */
    uint16_t count; /* steps of ring->next */
    bool at_wrap;
    unsigned max_segments; /* to be set by the caller, as far as LIMIT_VIRTIO_SEGMENTS */
    unsigned num_segments;
    struct virtio_segment segments[LIMIT_VIRTIO_SEGMENTS];
    /* Of a packed ring: its descriptors there. A used element of another chain may overwrite them. */
    unsigned num_descs;
    struct virtio_desc descs[LIMIT_VIRTIO_SEGMENTS];
};

/* Whether a ring may have these addresses and this size: 0 or -EINVAL. */
int virtio_ring_check(const struct virtio_ring *ring);

/* Reads the next chain and does not take it. 1; 0: the ring is empty; or a negative errno. */
int virtio_ring_peek(struct virtio_ring *ring, struct virtio_fetched *ret_fetched,
                     struct ob_fault *fault);
/* Whether the next chain is there, or whether virtio_ring_peek() finds an error. */
bool virtio_ring_has_next(struct virtio_ring *ring);
/* Reads once more a chain that was taken at another place: of a packed ring from `descs`, or from
 * the ring if there are none. 0 or a negative errno. */
int virtio_ring_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                     struct ob_fault *fault);
/* Moves behind the chain that was read, or back to it. */
void virtio_ring_take(struct virtio_ring *ring, const struct virtio_fetched *fetched);
void virtio_ring_go_back(struct virtio_ring *ring, uint16_t at, bool at_wrap);
/* Whether ring->next is right behind a chain of count steps at that place. */
bool virtio_ring_is_behind(const struct virtio_ring *ring, uint16_t at, bool at_wrap,
                           uint16_t count);

/* Shows the driver a used element. 0, or the errno of a look-up. */
int virtio_ring_push(struct virtio_ring *ring, uint16_t id, uint16_t count, uint32_t written,
                     bool has_writable);
/* Whether another process has written the next used element, of a chain of count steps: 1, and the ring
 * has moved behind it; 0; or the errno of a look-up. Right after the ring was set up. */
int virtio_ring_pass_shown(struct virtio_ring *ring, uint16_t count);
/* The place behind the next used element, of a chain of count steps. */
struct virtio_used_place virtio_ring_behind_used(const struct virtio_ring *ring, uint16_t count);
/* Whether the driver wants an interrupt for the elements since the last call. */
bool virtio_ring_wants_interrupt(struct virtio_ring *ring);

/* Has the driver notify the next chain, or not. To be followed, if it is to, by another
 * virtio_ring_peek(): before that call a chain may have come without a notification. */
int virtio_ring_want_notification(struct virtio_ring *ring, bool want);

#endif
