// SPDX-License-Identifier: BSD-3-Clause
#include "virtio/ring.h"

#include <errno.h>

#include "virtio/internal.h"

static struct virtio_range desc_range(const struct virtio_ring *ring)
{
    return (struct virtio_range){ring->desc, (uint64_t)ring->size * VIRTIO_DESC_LEN, ring->packed};
}

static struct virtio_range driver_range(const struct virtio_ring *ring)
{
    const uint64_t len = ring->packed ? VIRTIO_EVENT_LEN : 6 + UINT64_C(2) * ring->size;
    return (struct virtio_range){ring->driver, len, false};
}

static struct virtio_range device_range(const struct virtio_ring *ring)
{
    const uint64_t len = ring->packed ? VIRTIO_EVENT_LEN : 6 + UINT64_C(8) * ring->size;
    return (struct virtio_range){ring->device, len, true};
}

int virtio_ring_check(const struct virtio_ring *ring)
{
    const bool size_fits = ring->size > 0 && ring->size <= VIRTIO_MAX_RING &&
                           (ring->packed || !(ring->size & (ring->size - 1)));
    const unsigned driver_align = ring->packed ? 4 : 2;
    if (!size_fits || ring->desc % 16 || ring->driver % driver_align || ring->device % 4)
        return -EINVAL;
    if (ring->packed && (ring->next >= ring->size || ring->used >= ring->size))
        return -EINVAL;
    return 0;
}

static int look_up(struct virtio_ring *ring, struct virtio_range range, uint8_t **ret_at)
{
    int err = memory_at(ring->memory, range.iova, range.len, range.write, ret_at);
    if (err < 0)
        ring->missing = range;
    return err;
}

int virtio_ring_look_up(struct virtio_ring *ring)
{
    if (ring->looked_up && ring->generation == ring->memory->generation)
        return 0;
    ring->looked_up = false;
    int err = look_up(ring, desc_range(ring), &ring->desc_at);
    if (err == 0)
        err = look_up(ring, driver_range(ring), &ring->driver_at);
    if (err == 0)
        err = look_up(ring, device_range(ring), &ring->device_at);
    ring->generation = ring->memory->generation;
    ring->looked_up = err == 0;
    return err;
}

int virtio_ring_peek(struct virtio_ring *ring, struct virtio_fetched *ret_fetched,
                     struct ob_fault *fault)
{
    int err = virtio_ring_look_up(ring);
    if (err < 0)
        return err;
    return ring->packed ? virtio_packed_peek(ring, ret_fetched, fault)
                        : virtio_split_peek(ring, ret_fetched, fault);
}

bool virtio_ring_has_next(struct virtio_ring *ring)
{
    if (virtio_ring_look_up(ring) < 0)
        return true;
    return ring->packed ? virtio_packed_has_next(ring) : virtio_split_has_next(ring);
}

int virtio_ring_read(struct virtio_ring *ring, struct virtio_fetched *fetched,
                     struct ob_fault *fault)
{
    int err = virtio_ring_look_up(ring);
    if (err < 0)
        return err;
    return ring->packed ? virtio_packed_read(ring, fetched, fault)
                        : virtio_split_read(ring, fetched, fault);
}

void virtio_ring_take(struct virtio_ring *ring, const struct virtio_fetched *fetched)
{
    const unsigned behind = (unsigned)ring->next + fetched->count;
    const bool wraps = ring->packed && behind >= ring->size;
    ring->next = (uint16_t)(wraps ? behind - ring->size : behind);
    ring->next_wrap ^= wraps;
}

void virtio_ring_go_back(struct virtio_ring *ring, uint16_t at, bool at_wrap)
{
    ring->next = at;
    ring->next_wrap = at_wrap;
}

bool virtio_ring_is_behind(const struct virtio_ring *ring, uint16_t at, bool at_wrap,
                           uint16_t count)
{
    struct virtio_ring there = {
        .packed = ring->packed, .size = ring->size, .next = at, .next_wrap = at_wrap};
    virtio_ring_take(&there, &(struct virtio_fetched){.count = count});
    return there.next == ring->next && there.next_wrap == ring->next_wrap;
}

struct virtio_used_place virtio_ring_behind_used(const struct virtio_ring *ring, uint16_t count)
{
    const unsigned behind = (unsigned)ring->used + (ring->packed ? count : 1u);
    const bool wraps = ring->packed && behind >= ring->size;
    return (struct virtio_used_place){.at = (uint16_t)(wraps ? behind - ring->size : behind),
                                      .wrap = ring->used_wrap ^ wraps};
}

int virtio_ring_push(struct virtio_ring *ring, uint16_t id, uint16_t count, uint32_t written,
                     bool has_writable)
{
    int err = virtio_ring_look_up(ring);
    if (err < 0)
        return err;
    if (ring->packed)
        virtio_packed_push(ring, id, count, written, has_writable);
    else
        virtio_split_push(ring, id, written);
    return 0;
}

int virtio_ring_pass_shown(struct virtio_ring *ring, uint16_t count)
{
    int err = virtio_ring_look_up(ring);
    if (err < 0)
        return err;
    return ring->packed ? virtio_packed_pass_shown(ring, count) : virtio_split_pass_shown(ring);
}

bool virtio_ring_wants_interrupt(struct virtio_ring *ring)
{
    if (ring->unsignalled == 0)
        return false;
    bool wants =
        virtio_ring_look_up(ring) == 0 &&
        (ring->packed ? virtio_packed_wants_interrupt(ring) : virtio_split_wants_interrupt(ring));
    wants |= !ring->asked;
    ring->asked = true;
    ring->unsignalled = 0;
    return wants;
}

int virtio_ring_want_notification(struct virtio_ring *ring, bool want)
{
    int err = virtio_ring_look_up(ring);
    if (err < 0)
        return err;
    if (ring->packed)
        virtio_packed_want_notification(ring, want);
    else
        virtio_split_want_notification(ring, want);
    return 0;
}
