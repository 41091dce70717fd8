// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors of a chain, one after the other, into segments: 2.7.5 and 2.8.6. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cursor.h"
#include "virtio/internal.h"

#define MAX_CHAIN_BYTES (UINT64_C(1) << 32) /* 2.7.5 */

struct virtio_desc virtio_desc_copy(const uint8_t *at, bool packed)
{
    uint8_t bytes[VIRTIO_DESC_LEN];
    memcpy(bytes, at, sizeof(bytes));
    struct rd rd = rd_init(bytes, sizeof(bytes));
    struct virtio_desc desc = {.iova = rd_u64(&rd), .len = rd_u32(&rd)};
    uint16_t third = rd_u16(&rd), fourth = rd_u16(&rd);
    desc.flags = packed ? fourth : third;
    desc.next = packed ? third : fourth;
    return desc;
}

/* One piece of memory. */
static int add_segment(struct virtio_walk *walk, const struct virtio_desc *desc)
{
    struct virtio_fetched *fetched = walk->fetched;
    const bool write = desc->flags & VIRTIO_DESC_WRITE;
    const struct virtio_segment *last =
        fetched->num_segments > 0 ? &fetched->segments[fetched->num_segments - 1] : NULL;
    if (last && last->write && !write)
        return ob_fault_set(walk->fault, -EPROTO,
                            "a descriptor: got a device-readable one behind a device-writable one");
    if (fetched->num_segments == fetched->max_segments)
        return ob_fault_set(walk->fault, -EPROTO, "a chain: got more than %u descriptors",
                            fetched->max_segments);
    walk->total += desc->len;
    if (walk->total > MAX_CHAIN_BYTES)
        return ob_fault_set(walk->fault, -EPROTO,
                            "a chain: got more than 2^32 bytes, the last %" PRIu32 " at 0x%" PRIx64,
                            desc->len, desc->iova);
    fetched->segments[fetched->num_segments++] =
        (struct virtio_segment){.iova = desc->iova, .len = desc->len, .write = write};
    return 0;
}

static int read_table(struct virtio_walk *walk, uint64_t iova, uint8_t *ret_bytes)
{
    int err = memory_read(walk->ring->memory, iova, ret_bytes, VIRTIO_DESC_LEN);
    if (err < 0)
        walk->ring->missing = (struct virtio_range){.iova = iova, .len = VIRTIO_DESC_LEN};
    return err;
}

/* A split ring's table is a chain of its own, a packed ring's a list: 2.7.5.3, 2.8.7. Each step adds
 * a segment, so their number bounds the steps. */
static int add_table(struct virtio_walk *walk, const struct virtio_desc *table)
{
    const uint32_t entries = table->len / VIRTIO_DESC_LEN;
    if (table->len % VIRTIO_DESC_LEN || entries == 0)
        return ob_fault_set(walk->fault, -EPROTO,
                            "an indirect table: got %" PRIu32 " bytes, expected a multiple of %u",
                            table->len, VIRTIO_DESC_LEN);
    uint32_t at = 0;
    for (;;) {
        uint8_t bytes[VIRTIO_DESC_LEN];
        int err = read_table(walk, table->iova + (uint64_t)at * VIRTIO_DESC_LEN, bytes);
        if (err < 0)
            return err;
        const struct virtio_desc desc = virtio_desc_copy(bytes, walk->ring->packed);
        if (desc.flags & VIRTIO_DESC_INDIRECT)
            return ob_fault_set(walk->fault, -EPROTO, "an indirect table: got one inside of it");
        err = add_segment(walk, &desc);
        if (err < 0)
            return err;
        if (walk->ring->packed ? at + 1 == entries : !(desc.flags & VIRTIO_DESC_NEXT))
            return 0;
        at = walk->ring->packed ? at + 1 : desc.next;
        if (at >= entries)
            return ob_fault_set(walk->fault, -EPROTO,
                                "an indirect table: got next %" PRIu32
                                ", expected less than %" PRIu32,
                                at, entries);
    }
}

int virtio_walk_add(struct virtio_walk *walk, const struct virtio_desc *desc)
{
    if (!(desc->flags & VIRTIO_DESC_INDIRECT))
        return add_segment(walk, desc);
    if (!walk->ring->indirect)
        return ob_fault_set(walk->fault, -EPROTO,
                            "a descriptor: got INDIRECT, which was not negotiated");
    if (desc->flags & VIRTIO_DESC_NEXT)
        return ob_fault_set(walk->fault, -EPROTO, "a descriptor: got both INDIRECT and NEXT");
    return add_table(walk, desc);
}
