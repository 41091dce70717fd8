// SPDX-License-Identifier: BSD-3-Clause
/* Common to both kinds of rings. For src/virtio alone. */
#ifndef OUTBOARD_VIRTIO_INTERNAL_H
#define OUTBOARD_VIRTIO_INTERNAL_H

#include <endian.h>

#include "virtio/ring.h"
#include "virtio/spec.h"

/* Fields that both sides use at the same time; aligned, as virtio_ring_check() has seen. */
static inline uint16_t load16(const uint8_t *at)
{
    return le16toh(__atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED));
}

static inline uint16_t load16_acquire(const uint8_t *at)
{
    return le16toh(__atomic_load_n((const uint16_t *)at, __ATOMIC_ACQUIRE));
}

static inline void store16(uint8_t *at, uint16_t value)
{
    __atomic_store_n((uint16_t *)at, htole16(value), __ATOMIC_RELAXED);
}

static inline void store16_release(uint8_t *at, uint16_t value)
{
    __atomic_store_n((uint16_t *)at, htole16(value), __ATOMIC_RELEASE);
}

static inline void full_barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Looks up where the parts of the ring are, if that may have changed. 0 or a negative errno. */
int virtio_ring_look_up(struct virtio_ring *ring);

/* walk.c: a chain's descriptors one after the other. */
struct virtio_walk {
    struct virtio_ring *ring;
    struct virtio_fetched *fetched;
    uint64_t total; /* bytes */
    struct ob_fault *fault;
};

/* Copies the descriptor at an address in this process. A packed one, 2.8.13, has id and flags where
 * a split one has flags and next, 2.7.5. */
struct virtio_desc virtio_desc_copy(const uint8_t *at, bool packed);
/* Adds the memory of a descriptor of the ring, with all of its table if it is indirect. 0 or a
 * negative errno. */
int virtio_walk_add(struct virtio_walk *walk, const struct virtio_desc *desc);

/* split.c and packed.c, as those of ring.h. */
bool virtio_split_has_next(const struct virtio_ring *ring);
int virtio_split_peek(struct virtio_ring *ring, struct virtio_fetched *fetched,
                      struct ob_fault *fault);
int virtio_split_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                      struct ob_fault *fault);
void virtio_split_push(struct virtio_ring *ring, uint16_t id, uint32_t written);
bool virtio_split_pass_shown(struct virtio_ring *ring);
bool virtio_split_wants_interrupt(struct virtio_ring *ring);
void virtio_split_want_notification(struct virtio_ring *ring, bool want);

bool virtio_packed_has_next(const struct virtio_ring *ring);
int virtio_packed_peek(struct virtio_ring *ring, struct virtio_fetched *fetched,
                       struct ob_fault *fault);
int virtio_packed_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                       struct ob_fault *fault);
void virtio_packed_push(struct virtio_ring *ring, uint16_t id, uint16_t count, uint32_t written,
                        bool has_writable);
bool virtio_packed_pass_shown(struct virtio_ring *ring, uint16_t count);
bool virtio_packed_wants_interrupt(struct virtio_ring *ring);
void virtio_packed_want_notification(struct virtio_ring *ring, bool want);

/* Whether one of the `since` places before `now` lies behind `event`, 2.7.7.2. */
static inline bool virtio_event_passed(uint16_t event, uint16_t now, uint32_t since)
{
    return since > UINT16_MAX || (uint16_t)(now - event - 1) < since;
}

#endif
