// SPDX-License-Identifier: BSD-3-Clause
/*
 * A packed ring's part of the inflight buffer.
 *
 * The ring itself does not tell how far the device has come: used elements overwrite the descriptors of
 * older chains. So the part has copies of the descriptors, and the place of the next used element.
 *
 * 0 features, 8 version, 10 descriptors, 12 head of the free list, 14 the old one, 16 used index, 18 the
 * old one, 20 wrap counter, 21 the old one; from 32 on entries of 32 bytes: 0 in flight, 2 next, 4 last,
 * 6 number, 8 counter, 16 id, 18 flags, 20 length, 24 address. A chain has an entry per descriptor. The
 * first one is its mark, and has the number, the last one and the counter.
 *
 * A completion writes the new used index first, then the ring, then the old index. If both differ, the
 * ring tells whether the driver has seen the completion; it is then the chain at the head of the free list.
 *
 * The part is as hostile as the guest. The lists that this process follows are its own, in memory that
 * is not shared; those in the part are for the next process, which follows them with checks.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/auto.h"
#include "server/vhost_user/vhost_user.h"

#define VERSION  1u
#define ENTRY    32u /* bytes of the header too */
#define NO_MARK  0xffffu
#define FLAGS_AT 14u /* of a descriptor, virtio 1.2, 2.8.13 */
#define DESC_LEN 16u
#define AVAIL    (1u << 7)
#define USED     (1u << 15)

struct header {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_idx;
    uint16_t old_used_idx;
    uint8_t used_wrap_counter;
    uint8_t old_used_wrap_counter;
    uint8_t padding[10];
};

struct entry {
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;
    uint16_t last;
    uint16_t num;
    uint64_t counter;
    uint16_t id;
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
};

_Static_assert(sizeof(struct header) == ENTRY && sizeof(struct entry) == ENTRY,
               "the layout of the specification");

struct part {
    struct header *header;
    struct entry *entries;
    uint16_t count;
    struct vhost_user_marks *marks; /* NULL: the ring has not started */
};

/* The use of each entry, as this process knows it. */
struct vhost_user_marks {
    uint16_t free;                       /* NO_MARK: none is */
    uint16_t next[OB_VIRTIO_QUEUE_SIZE]; /* of the free list, or within a chain */
    uint16_t last[OB_VIRTIO_QUEUE_SIZE]; /* of the chain that begins there */
};

static void ordered(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint16_t load(const uint16_t *from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static bool find_part(const struct vhost_user_server *server, unsigned queue, struct part *ret_part)
{
    uint8_t *at = vhost_user_inflight_part(server, queue, true);
    if (!at)
        return false;
    *ret_part = (struct part){.header = (struct header *)at,
                              .entries = (struct entry *)(at + ENTRY),
                              .count = server->inflight.queue_size,
                              .marks = server->rings[queue].marks};
    return true;
}

/* The entries that no chain has, in their order. */
static void make_free_list(const struct part *part, const bool *taken)
{
    struct vhost_user_marks *marks = part->marks;
    marks->free = NO_MARK;
    for (unsigned at = part->count; at-- > 0;) {
        if (taken[at])
            continue;
        marks->next[at] = marks->free;
        part->entries[at].next = marks->free;
        marks->free = (uint16_t)at;
    }
    part->header->free_head = part->header->old_free_head = marks->free;
}

static void begin(const struct part *part, const struct vhost_user_server *server,
                  const struct virtio_place *place)
{
    static const bool none[OB_VIRTIO_QUEUE_SIZE];
    *part->header = (struct header){.features = server->features,
                                    .desc_num = part->count,
                                    .used_idx = place->used,
                                    .old_used_idx = place->used,
                                    .used_wrap_counter = place->used_wrap,
                                    .old_used_wrap_counter = place->used_wrap};
    for (unsigned at = 0; at < part->count; at++)
        part->entries[at].inflight = 0;
    make_free_list(part, none);
    ordered();
    part->header->version = VERSION;
}

/* Finds out whether the driver has seen the last completion. 0, or a negative errno: -EAGAIN, the ring is
 * not in memory yet. */
static int settle(struct vhost_user_server *server, const struct part *part,
                  struct virtio_place *place)
{
    struct header *header = part->header;
    const uint16_t old = load(&header->old_used_idx), used = load(&header->used_idx);
    const bool old_wrap = header->old_used_wrap_counter, wrap = header->used_wrap_counter;
    const uint16_t head = load(&header->free_head);
    uint8_t bytes[2];
    if (old >= place->size || used >= place->size)
        return -ERANGE;
    place->used = old;
    place->used_wrap = old_wrap;
    if (old == used && old_wrap == wrap)
        return 0;
    const uint64_t at = place->desc + (uint64_t)old * DESC_LEN + FLAGS_AT;
    int err = memory_read(device_memory(server->engine.device), at, bytes, sizeof(bytes));
    if (err < 0)
        return vhost_user_miss(server, at, sizeof(bytes), true) ? -EAGAIN : err;
    const unsigned flags = bytes[0] | (unsigned)bytes[1] << 8;
    const bool is_available = !!(flags & AVAIL) == old_wrap && !!(flags & USED) != old_wrap;
    if (is_available)
        return 0;
    if (head < part->count)
        part->entries[head].inflight = 0;
    place->used = used;
    place->used_wrap = wrap;
    return 0;
}

/* Copies a chain of the process before. 0, or -ERANGE: it can't be, or there are too many. */
static int copy_chain(const struct part *part, uint16_t mark, bool *taken,
                      struct vhost_user_past *past, uint16_t size)
{
    struct virtio_flight *flight = &past->flights[past->count];
    struct vhost_user_marks *marks = part->marks;
    const uint16_t num = load(&part->entries[mark].num);
    uint16_t at = mark, last = mark;
    if (num == 0 || past->count == size || past->num_descs + num > size)
        return -ERANGE;
    *flight = (struct virtio_flight){
        .mark = mark, .num_descs = num, .descs = &past->descs[past->num_descs]};
    for (uint16_t i = 0; i < num; i++) {
        if (at >= part->count || taken[at])
            return -ERANGE;
        const struct entry entry = part->entries[at];
        past->descs[past->num_descs++] = (struct virtio_desc){
            .iova = entry.addr, .len = entry.len, .flags = entry.flags, .next = entry.id};
        taken[at] = true;
        marks->next[last] = at;
        flight->id = entry.id;
        last = at;
        at = entry.next;
    }
    marks->last[mark] = last;
    past->count++;
    return 0;
}

static int list_marked(struct vhost_user_server *server, const struct part *part, uint16_t size,
                       struct vhost_user_past *past)
{
    struct vhost_user_marked list[OB_VIRTIO_QUEUE_SIZE];
    bool taken[OB_VIRTIO_QUEUE_SIZE] = {false};
    unsigned count = 0;
    int err = 0;
    for (uint16_t at = 0; at < part->count; at++)
        if (__atomic_load_n(&part->entries[at].inflight, __ATOMIC_RELAXED))
            list[count++] = (struct vhost_user_marked){
                at, __atomic_load_n(&part->entries[at].counter, __ATOMIC_RELAXED)};
    vhost_user_marked_sort(server, list, count);
    for (unsigned i = 0; err == 0 && i < count; i++)
        err = copy_chain(part, list[i].mark, taken, past, size);
    if (err == 0)
        make_free_list(part, taken);
    return err;
}

static int resume(struct vhost_user_server *server, const struct part *part,
                  struct virtio_place *place, struct vhost_user_past *past)
{
    struct header *header = part->header;
    int err = settle(server, part, place);
    if (err == 0)
        err = list_marked(server, part, place->size, past);
    if (err < 0)
        return err;
    header->used_idx = header->old_used_idx = place->used;
    header->used_wrap_counter = header->old_used_wrap_counter = place->used_wrap;
    const unsigned behind = place->used + past->num_descs;
    place->next = (uint16_t)(behind >= place->size ? behind - place->size : behind);
    place->next_wrap = place->used_wrap ^ (behind >= place->size);
    return 0;
}

int vhost_user_packed_resume(struct vhost_user_server *server, unsigned queue,
                             struct virtio_place *place, struct vhost_user_past *past)
{
    struct vhost_user_ring *ring = &server->rings[queue];
    struct part part;
    if (!find_part(server, queue, &part))
        return 0;
    if (part.count < place->size)
        return -ERANGE;
    if (!ring->marks)
        ring->marks = malloc(sizeof(*ring->marks));
    if (!ring->marks)
        return -ENOMEM;
    part.marks = ring->marks;
    if (load(&part.header->version) != 0)
        return resume(server, &part, place, past);
    begin(&part, server, place);
    return 0;
}

void vhost_user_packed_forget(struct vhost_user_server *server, unsigned queue)
{
    struct part part;
    if (find_part(server, queue, &part))
        part.header->version = 0;
}

uint16_t vhost_user_packed_taken(struct vhost_user_server *server, unsigned queue,
                                 const struct virtio_flight *flight)
{
    struct part part;
    if (!find_part(server, queue, &part) || !part.marks)
        return NO_MARK;
    struct vhost_user_marks *marks = part.marks;
    const uint16_t mark = marks->free;
    uint16_t at = mark, last = mark;
    for (unsigned i = 0; i < flight->num_descs; i++) {
        const struct virtio_desc *desc = &flight->descs[i];
        if (at >= part.count) /* it was taken before there was a buffer */
            return NO_MARK;
        struct entry *entry = &part.entries[at];
        entry->addr = desc->iova;
        entry->len = desc->len;
        entry->flags = desc->flags;
        entry->id = desc->next;
        entry->next = marks->next[at];
        last = at;
        at = marks->next[at];
    }
    if (mark >= part.count)
        return NO_MARK;
    marks->last[mark] = last;
    marks->free = at;
    part.entries[mark].last = last;
    part.entries[mark].num = flight->num_descs;
    part.entries[mark].counter = server->inflight.counter++;
    ordered();
    part.entries[mark].inflight = 1;
    ordered();
    part.header->free_head = part.header->old_free_head = at;
    return mark;
}

void vhost_user_packed_completing(struct vhost_user_server *server, unsigned queue, uint16_t mark,
                                  struct virtio_used_place used)
{
    struct part part;
    if (!find_part(server, queue, &part) || !part.marks || mark >= part.count)
        return;
    part.entries[part.marks->last[mark]].next = part.marks->free;
    part.header->free_head = mark;
    ordered();
    part.header->used_wrap_counter = used.wrap;
    part.header->used_idx = used.at;
    ordered();
}

/* The index before the wrap counter: a place with the new index and the old counter was used long ago. */
void vhost_user_packed_completed(struct vhost_user_server *server, unsigned queue, uint16_t mark,
                                 struct virtio_used_place used)
{
    struct part part;
    if (!find_part(server, queue, &part) || !part.marks || mark >= part.count)
        return;
    struct vhost_user_marks *marks = part.marks;
    marks->next[marks->last[mark]] = marks->free;
    marks->free = mark;
    ordered();
    part.entries[mark].inflight = 0;
    ordered();
    part.header->old_free_head = mark;
    part.header->old_used_idx = used.at;
    ordered();
    part.header->old_used_wrap_counter = used.wrap;
}
