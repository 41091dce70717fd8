// SPDX-License-Identifier: BSD-3-Clause
/* The packed ring, 2.8. */
#include <errno.h>
#include <inttypes.h>

#include "virtio/internal.h"

#define FLAGS_AT 14u /* of a descriptor: addr 8, len 4, id 2, flags 2 */

static uint8_t *descriptor(const struct virtio_ring *ring, uint16_t at)
{
    return ring->desc_at + (size_t)at * VIRTIO_DESC_LEN;
}

/* Keeps a copy. Each descriptor that was added is a segment at least, so there is room. */
static void keep(struct virtio_fetched *fetched, const struct virtio_desc *desc)
{
    if (fetched->num_descs < LIMIT_VIRTIO_SEGMENTS)
        fetched->descs[fetched->num_descs++] = *desc;
}

/* The list that begins at fetched->at: its id is that of its last descriptor, 2.8.6. */
static int read_list(struct virtio_ring *ring, struct virtio_fetched *fetched,
                     struct ob_fault *fault)
{
    struct virtio_walk walk = {.ring = ring, .fetched = fetched, .fault = fault};
    uint16_t at = fetched->at;
    fetched->num_segments = fetched->num_descs = 0;
    for (uint16_t count = 1; count <= ring->size; count++) {
        const struct virtio_desc desc = virtio_desc_copy(descriptor(ring, at), true);
        int err = virtio_walk_add(&walk, &desc);
        if (err < 0)
            return err;
        keep(fetched, &desc);
        fetched->id = desc.next;
        fetched->count = count;
        if (!(desc.flags & VIRTIO_DESC_NEXT))
            return 0;
        at = (uint16_t)(at + 1 == ring->size ? 0 : at + 1);
    }
    return ob_fault_set(fault, -EPROTO, "a chain: got more descriptors than the ring has, %u",
                        ring->size);
}

bool virtio_packed_has_next(const struct virtio_ring *ring)
{
    const uint16_t flags = load16_acquire(descriptor(ring, ring->next) + FLAGS_AT);
    const bool avail = flags & VIRTIO_DESC_AVAIL, used = flags & VIRTIO_DESC_USED;
    return avail == ring->next_wrap && used != ring->next_wrap;
}

int virtio_packed_peek(struct virtio_ring *ring, struct virtio_fetched *fetched,
                       struct ob_fault *fault)
{
    if (!virtio_packed_has_next(ring))
        return 0;
    fetched->at = ring->next;
    fetched->at_wrap = ring->next_wrap;
    int err = read_list(ring, fetched, fault);
    return err < 0 ? err : 1;
}

/* The list as it was copied. */
static int read_copy(struct virtio_ring *ring, struct virtio_fetched *fetched,
                     struct ob_fault *fault)
{
    struct virtio_walk walk = {.ring = ring, .fetched = fetched, .fault = fault};
    int err = 0;
    fetched->num_segments = 0;
    for (unsigned i = 0; err == 0 && i < fetched->num_descs; i++)
        err = virtio_walk_add(&walk, &fetched->descs[i]);
    return err;
}

/* The id and the length may be others now; they stay as they were taken. */
int virtio_packed_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                       struct ob_fault *fault)
{
    if (fetched->num_descs > 0)
        return read_copy(ring, fetched, fault);
    const uint16_t id = fetched->id, count = fetched->count;
    int err = read_list(ring, fetched, fault);
    fetched->id = id;
    fetched->count = count;
    return err;
}

/* Moves behind count places that are used. */
static void advance_used(struct virtio_ring *ring, uint16_t count)
{
    ring->unsignalled += count;
    const unsigned behind = (unsigned)ring->used + count;
    if (behind >= ring->size)
        ring->used_wrap = !ring->used_wrap;
    ring->used = (uint16_t)(behind >= ring->size ? behind - ring->size : behind);
}

/* The place is as the driver made it available, or as used, or available once more. */
bool virtio_packed_pass_shown(struct virtio_ring *ring, uint16_t count)
{
    const uint16_t flags = load16_acquire(descriptor(ring, ring->used) + FLAGS_AT);
    const bool avail = flags & VIRTIO_DESC_AVAIL, used = flags & VIRTIO_DESC_USED;
    if (avail == ring->used_wrap && used != ring->used_wrap)
        return false;
    memory_mark(ring->memory, ring->desc + (uint64_t)ring->used * VIRTIO_DESC_LEN, VIRTIO_DESC_LEN);
    advance_used(ring, count);
    return true;
}

void virtio_packed_push(struct virtio_ring *ring, uint16_t id, uint16_t count, uint32_t written,
                        bool has_writable)
{
    uint8_t *at = descriptor(ring, ring->used);
    uint16_t flags = ring->used_wrap ? VIRTIO_DESC_AVAIL | VIRTIO_DESC_USED : 0;
    if (has_writable)
        flags |= VIRTIO_DESC_WRITE;
    __atomic_store_n((uint32_t *)(at + 8), htole32(written), __ATOMIC_RELAXED);
    store16(at + 12, id);
    store16_release(at + FLAGS_AT, flags);
    memory_mark(ring->memory, ring->desc + (uint64_t)ring->used * VIRTIO_DESC_LEN, VIRTIO_DESC_LEN);
    advance_used(ring, count);
}

bool virtio_packed_wants_interrupt(struct virtio_ring *ring)
{
    full_barrier(); /* between the used descriptor and the driver's wish for interrupts */
    const uint16_t flags = load16_acquire(ring->driver_at + VIRTIO_EVENT_FLAGS) & 3u;
    if (flags != VIRTIO_EVENT_DESC || !ring->event_idx)
        return flags != VIRTIO_EVENT_DISABLE;
    const uint16_t off_wrap = load16(ring->driver_at);
    uint16_t event = off_wrap & (VIRTIO_EVENT_WRAP - 1);
    if (!!(off_wrap & VIRTIO_EVENT_WRAP) != ring->used_wrap)
        event = (uint16_t)(event - ring->size);
    return virtio_event_passed(event, ring->used, ring->unsignalled);
}

void virtio_packed_want_notification(struct virtio_ring *ring, bool want)
{
    uint16_t flags = want ? VIRTIO_EVENT_ENABLE : VIRTIO_EVENT_DISABLE;
    if (want && ring->event_idx) {
        store16(ring->device_at,
                (uint16_t)(ring->next | (ring->next_wrap ? VIRTIO_EVENT_WRAP : 0)));
        flags = VIRTIO_EVENT_DESC;
    }
    store16_release(ring->device_at + VIRTIO_EVENT_FLAGS, flags);
    memory_mark(ring->memory, ring->device, VIRTIO_EVENT_LEN);
    if (want)
        full_barrier(); /* between the wish and another look at the flags */
}
