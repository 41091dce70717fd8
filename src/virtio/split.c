// SPDX-License-Identifier: BSD-3-Clause
/* The split ring, 2.7. */
#include <errno.h>
#include <inttypes.h>

#include "virtio/internal.h"

static uint8_t *avail_entry(const struct virtio_ring *ring, uint16_t index)
{
    return ring->driver_at + VIRTIO_AVAIL_RING + 2 * (index & (ring->size - 1));
}

/* The chain that begins at fetched->id. */
static int read_chain(struct virtio_ring *ring, struct virtio_fetched *fetched,
                      struct ob_fault *fault)
{
    struct virtio_walk walk = {.ring = ring, .fetched = fetched, .fault = fault};
    uint16_t at = fetched->id;
    fetched->num_segments = 0;
    for (unsigned steps = 0; steps < ring->size; steps++) {
        if (at >= ring->size)
            return ob_fault_set(fault, -EPROTO,
                                "a descriptor: got number %u, expected less than %u", at,
                                ring->size);
        const struct virtio_desc desc =
            virtio_desc_copy(ring->desc_at + (size_t)at * VIRTIO_DESC_LEN, false);
        int err = virtio_walk_add(&walk, &desc);
        if (err < 0 || !(desc.flags & VIRTIO_DESC_NEXT))
            return err;
        at = desc.next;
    }
    return ob_fault_set(fault, -EPROTO, "a chain: got more descriptors than the ring has, %u",
                        ring->size);
}

bool virtio_split_has_next(const struct virtio_ring *ring)
{
    return load16(ring->driver_at + VIRTIO_AVAIL_IDX) != ring->next;
}

int virtio_split_peek(struct virtio_ring *ring, struct virtio_fetched *fetched,
                      struct ob_fault *fault)
{
    const uint16_t shown = load16_acquire(ring->driver_at + VIRTIO_AVAIL_IDX);
    const uint16_t waiting = (uint16_t)(shown - ring->next);
    if (waiting == 0)
        return 0;
    if (waiting > ring->size)
        return ob_fault_set(fault, -EPROTO, "avail.idx: got %u, expected at most %u more than %u",
                            shown, ring->size, ring->next);
    fetched->id = load16(avail_entry(ring, ring->next));
    fetched->at = ring->next;
    fetched->at_wrap = false;
    fetched->count = 1;
    int err = read_chain(ring, fetched, fault);
    return err < 0 ? err : 1;
}

int virtio_split_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                      struct ob_fault *fault)
{
    return read_chain(ring, fetched, fault);
}

void virtio_split_push(struct virtio_ring *ring, uint16_t id, uint32_t written)
{
    const uint32_t at = VIRTIO_USED_RING + VIRTIO_USED_ELEMENT * (ring->used & (ring->size - 1u));
    uint8_t *element = ring->device_at + at;
    __atomic_store_n((uint32_t *)element, htole32(id), __ATOMIC_RELAXED);
    __atomic_store_n((uint32_t *)(element + 4), htole32(written), __ATOMIC_RELAXED);
    ring->used++;
    ring->unsignalled++;
    store16_release(ring->device_at + VIRTIO_USED_IDX, ring->used);
    memory_mark(ring->memory, ring->device + at, VIRTIO_USED_ELEMENT);
    memory_mark(ring->memory, ring->device + VIRTIO_USED_IDX, 2);
}

/* The other process may not have told the log. */
bool virtio_split_pass_shown(struct virtio_ring *ring)
{
    if (load16_acquire(ring->device_at + VIRTIO_USED_IDX) == ring->used)
        return false;
    const uint32_t at = VIRTIO_USED_RING + VIRTIO_USED_ELEMENT * (ring->used & (ring->size - 1u));
    memory_mark(ring->memory, ring->device + at, VIRTIO_USED_ELEMENT);
    memory_mark(ring->memory, ring->device + VIRTIO_USED_IDX, 2);
    ring->used++;
    ring->unsignalled++;
    return true;
}

bool virtio_split_wants_interrupt(struct virtio_ring *ring)
{
    full_barrier(); /* between used.idx and the driver's wish for interrupts */
    if (!ring->event_idx)
        return !(load16(ring->driver_at) & VIRTIO_AVAIL_NO_INTERRUPT);
    const uint16_t event = load16(avail_entry(ring, 0) + 2u * ring->size);
    return virtio_event_passed(event, ring->used, ring->unsignalled);
}

/* With event indices a stale one is as good as no wish: the driver has passed it. */
void virtio_split_want_notification(struct virtio_ring *ring, bool want)
{
    const uint64_t event_at = VIRTIO_USED_RING + VIRTIO_USED_ELEMENT * ring->size;
    if (ring->event_idx && want) {
        store16(ring->device_at + event_at, ring->next);
        memory_mark(ring->memory, ring->device + event_at, 2);
    } else if (!ring->event_idx) {
        store16(ring->device_at, want ? 0 : VIRTIO_USED_NO_NOTIFY);
        memory_mark(ring->memory, ring->device, 2);
    }
    if (want)
        full_barrier(); /* between the wish and another look at avail.idx */
}
