// SPDX-License-Identifier: BSD-3-Clause
#include "virtio/virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define FIRST_SPANS 8u

void virtqueue_init(struct virtqueue *queue, unsigned index, unsigned max_segments, void *owner)
{
    *queue = (struct virtqueue){.index = index, .max_segments = max_segments, .owner = owner};
    list_init(&queue->chains);
    list_init(&queue->orphans);
    list_init(&queue->spare);
}

static void unmap(struct virtio_chain *chain)
{
    memory_unmap(chain->queue->ring.memory, chain->spans,
                 chain->chain.num_readable + chain->chain.num_writable);
    chain->chain = (struct ob_virtio_chain){.queue = chain->queue->index};
}

static void free_all(struct list *list)
{
    while (!list_empty(list)) {
        struct virtio_chain *chain = list_entry(list_take(list), struct virtio_chain, link);
        unmap(chain);
        free(chain->spans);
        free(chain->descs);
        free(chain);
    }
}

void virtqueue_done(struct virtqueue *queue)
{
    free_all(&queue->chains);
    free_all(&queue->orphans);
    free_all(&queue->spare);
}

static unsigned *count_of(struct virtqueue *queue, enum chain_state state)
{
    if (state == CHAIN_RETURNED)
        return &queue->returned;
    return state == CHAIN_DONE ? &queue->done : &queue->taken;
}

static void set_state(struct virtio_chain *chain, enum chain_state state)
{
    --*count_of(chain->queue, chain->state);
    ++*count_of(chain->queue, state);
    chain->state = state;
}

/* The ring is over with a chain. */
static void spare(struct virtio_chain *chain)
{
    struct virtqueue *queue = chain->queue;
    --*count_of(queue, chain->state);
    if (chain->state != CHAIN_ORPHAN)
        queue->in_flight -= chain->count;
    unmap(chain);
    list_remove(&chain->link);
    list_append(&queue->spare, &chain->link);
}

void virtqueue_forget(struct virtqueue *queue)
{
    while (!list_empty(&queue->chains)) {
        struct virtio_chain *chain = list_entry(queue->chains.next, struct virtio_chain, link);
        if (chain->state != CHAIN_TAKEN) {
            spare(chain);
            continue;
        }
        queue->in_flight -= chain->count;
        chain->state = CHAIN_ORPHAN;
        list_remove(&chain->link);
        list_append(&queue->orphans, &chain->link);
    }
    queue->quiet = queue->listens = queue->last_ones = false;
}

/* Room for more spans than there is room for now. */
static int grow(struct virtio_chain *chain)
{
    const unsigned most = 4 * chain->queue->max_segments + LIMIT_DMA_SPANS;
    unsigned room = chain->room > 0 ? 2 * chain->room : FIRST_SPANS;
    if (room > most)
        room = most;
    if (room == chain->room)
        return -E2BIG;
    struct ob_dma_span *spans = realloc(chain->spans, room * sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    chain->spans = spans;
    chain->room = room;
    return 0;
}

/* A chain that belongs to no list. */
static struct virtio_chain *make(struct virtqueue *queue)
{
    if (!list_empty(&queue->spare))
        return list_entry(list_take(&queue->spare), struct virtio_chain, link);
    struct virtio_chain *chain = calloc(1, sizeof(*chain));
    if (!chain)
        return NULL;
    list_init(&chain->link);
    chain->queue = queue;
    chain->chain.queue = queue->index;
    if (grow(chain) == 0)
        return chain;
    free(chain);
    return NULL;
}

/* Maps a segment behind the spans that there are. Returns how many it took. */
static int map_segment(struct virtio_chain *chain, const struct virtio_segment *segment,
                       unsigned have)
{
    struct virtio_ring *ring = &chain->queue->ring;
    int got;
    do {
        got = memory_map(ring->memory, segment->iova, segment->len, segment->write,
                         chain->spans + have, chain->room - have);
        if (got == -E2BIG) {
            int err = grow(chain);
            if (err < 0)
                return err;
        }
    } while (got == -E2BIG);
    if (got < 0)
        ring->missing = (struct virtio_range){segment->iova, segment->len, segment->write};
    return got;
}

static int map(struct virtio_chain *chain, const struct virtio_fetched *fetched)
{
    struct ob_virtio_chain *seen = &chain->chain;
    for (unsigned i = 0; i < fetched->num_segments; i++) {
        const struct virtio_segment *segment = &fetched->segments[i];
        int got = map_segment(chain, segment, seen->num_readable + seen->num_writable);
        if (got < 0) {
            unmap(chain);
            return got;
        }
        if (segment->write) {
            seen->num_writable += (unsigned)got;
            seen->writable_len += segment->len;
        } else {
            seen->num_readable += (unsigned)got;
            seen->readable_len += segment->len;
        }
    }
    seen->readable = chain->spans;
    seen->writable = chain->spans + seen->num_readable;
    seen->context = NULL;
    return 0;
}

/* Keeps the descriptors of a packed ring for take_again(). 0 or -ENOMEM. */
static int keep_descs(struct virtio_chain *chain, const struct virtio_desc *from, unsigned count)
{
    const size_t len = count * sizeof(chain->descs[0]);
    if (chain->descs_room < count) {
        struct virtio_desc *descs = realloc(chain->descs, len);
        if (!descs)
            return -ENOMEM;
        chain->descs = descs;
        chain->descs_room = count;
    }
    chain->num_descs = count;
    if (count > 0)
        memcpy(chain->descs, from, len);
    return 0;
}

static int take_again(struct virtqueue *queue, struct virtio_fetched *scratch,
                      struct virtio_chain **ret_chain, struct ob_fault *fault)
{
    struct list *link = queue->chains.next;
    while (list_entry(link, struct virtio_chain, link)->state != CHAIN_RETURNED)
        link = link->next;
    struct virtio_chain *chain = list_entry(link, struct virtio_chain, link);
    scratch->id = chain->id;
    scratch->at = chain->at;
    scratch->at_wrap = chain->at_wrap;
    scratch->count = chain->count;
    scratch->num_descs = chain->num_descs;
    if (chain->num_descs > 0)
        memcpy(scratch->descs, chain->descs, chain->num_descs * sizeof(chain->descs[0]));
    int err = virtio_ring_read(&queue->ring, scratch, fault);
    if (err == 0)
        err = map(chain, scratch);
    if (err < 0)
        return err;
    set_state(chain, CHAIN_TAKEN);
    *ret_chain = chain;
    return 1;
}

bool virtqueue_has_next(struct virtqueue *queue)
{
    return queue->returned > 0 || (!queue->last_ones && virtio_ring_has_next(&queue->ring));
}

/* The driver may have made a chain available before it saw that it is to notify: hence the second
 * look. */
bool virtqueue_listen(struct virtqueue *queue)
{
    if (queue->listens || queue->last_ones)
        return virtqueue_has_next(queue);
    if (virtio_ring_want_notification(&queue->ring, true) < 0)
        return true;
    queue->quiet = false;
    queue->listens = true;
    return virtqueue_has_next(queue);
}

/* The next chain in the ring. */
static int peek(struct virtqueue *queue, struct virtio_fetched *scratch, struct ob_fault *fault)
{
    int found = queue->last_ones ? 0 : virtio_ring_peek(&queue->ring, scratch, fault);
    if (found == 1 && queue->in_flight + scratch->count > queue->ring.size)
        return ob_fault_set(fault, -EPROTO, "the ring: got more chains than its %u entries hold",
                            queue->ring.size);
    return found;
}

static void tell_taken(struct virtio_chain *chain)
{
    const struct virtqueue *queue = chain->queue;
    const struct virtio_flight flight = {.id = chain->id,
                                         .num_descs = (uint16_t)chain->num_descs,
                                         .descs = queue->ring.packed ? chain->descs : NULL};
    if (queue->wire && queue->wire->taken)
        chain->mark = queue->wire->taken(queue->wire->context, queue->index, &flight);
}

static int take_next(struct virtqueue *queue, struct virtio_fetched *scratch,
                     struct virtio_chain **ret_chain, struct ob_fault *fault)
{
    int found = peek(queue, scratch, fault);
    if (found <= 0)
        return found;
    struct virtio_chain *chain = make(queue);
    if (!chain)
        return -ENOMEM;
    int err = queue->ring.packed ? keep_descs(chain, scratch->descs, scratch->num_descs) : 0;
    if (err == 0)
        err = map(chain, scratch);
    if (err < 0) {
        list_append(&queue->spare, &chain->link);
        return err;
    }
    chain->id = scratch->id;
    chain->at = scratch->at;
    chain->at_wrap = scratch->at_wrap;
    chain->count = scratch->count;
    chain->state = CHAIN_TAKEN;
    queue->taken++;
    queue->in_flight += chain->count;
    list_append(&queue->chains, &chain->link);
    virtio_ring_take(&queue->ring, scratch);
    queue->listens = false;
    if (!queue->quiet)
        queue->quiet = virtio_ring_want_notification(&queue->ring, false) == 0;
    tell_taken(chain);
    *ret_chain = chain;
    return 1;
}

int virtqueue_take(struct virtqueue *queue, struct virtio_fetched *scratch,
                   struct virtio_chain **ret_chain, struct ob_fault *fault)
{
    scratch->max_segments = queue->max_segments;
    return queue->returned > 0 ? take_again(queue, scratch, ret_chain, fault)
                               : take_next(queue, scratch, ret_chain, fault);
}

/* Shows the driver a chain that is DONE. */
static int show(struct virtio_chain *chain)
{
    struct virtqueue *queue = chain->queue;
    const struct virtio_wire *wire = queue->wire;
    const uint16_t mark = chain->mark;
    const struct virtio_used_place behind = virtio_ring_behind_used(&queue->ring, chain->count);
    if (wire && wire->completing)
        wire->completing(wire->context, queue->index, mark, behind);
    int err = virtio_ring_push(&queue->ring, chain->id, chain->count, chain->written,
                               chain->has_writable);
    if (err < 0)
        return err;
    spare(chain);
    if (wire && wire->completed)
        wire->completed(wire->context, queue->index, mark, behind);
    return 0;
}

/* The chain that is to be shown next, or NULL. */
static struct virtio_chain *next_done(const struct virtqueue *queue)
{
    for (struct list *link = queue->chains.next; queue->done > 0 && link != &queue->chains;
         link = link->next) {
        struct virtio_chain *chain = list_entry(link, struct virtio_chain, link);
        if (chain->state == CHAIN_DONE)
            return chain;
        if (queue->in_order)
            break;
    }
    return NULL;
}

int virtqueue_flush(struct virtqueue *queue)
{
    struct list *link = queue->chains.next;
    int err = 0;
    while (err == 0 && queue->done > 0 && link != &queue->chains) {
        struct virtio_chain *chain = list_entry(link, struct virtio_chain, link);
        link = link->next;
        if (chain->state == CHAIN_DONE)
            err = show(chain);
        else if (queue->in_order)
            break;
    }
    return err;
}

int virtqueue_pass_shown(struct virtqueue *queue)
{
    const struct virtio_wire *wire = queue->wire;
    struct virtio_chain *chain;
    while ((chain = next_done(queue))) {
        const uint16_t mark = chain->mark;
        const struct virtio_used_place behind = virtio_ring_behind_used(&queue->ring, chain->count);
        int passed = virtio_ring_pass_shown(&queue->ring, chain->count);
        if (passed <= 0)
            return passed;
        spare(chain);
        if (wire && wire->completed)
            wire->completed(wire->context, queue->index, mark, behind);
    }
    return 0;
}

void virtqueue_finish(struct virtio_chain *chain, uint32_t written)
{
    if (chain->state == CHAIN_ORPHAN) {
        spare(chain);
        return;
    }
    chain->written = written;
    chain->has_writable = chain->chain.num_writable > 0;
    unmap(chain); /* its pages count as written before the driver sees it */
    set_state(chain, CHAIN_DONE);
}

int virtqueue_complete(struct virtio_chain *chain, uint32_t written)
{
    struct virtqueue *queue = chain->queue;
    const bool is_orphan = chain->state == CHAIN_ORPHAN;
    virtqueue_finish(chain, written);
    if (is_orphan)
        return 0;
    if (queue->in_order || queue->done > 1)
        return virtqueue_flush(queue);
    return show(chain);
}

void virtqueue_return(struct virtio_chain *chain)
{
    struct virtqueue *queue = chain->queue;
    if (chain->state == CHAIN_ORPHAN) {
        spare(chain);
        return;
    }
    set_state(chain, CHAIN_RETURNED);
    unmap(chain);
    while (!list_empty(&queue->chains)) {
        struct virtio_chain *last = list_entry(queue->chains.prev, struct virtio_chain, link);
        if (last->state != CHAIN_RETURNED ||
            !virtio_ring_is_behind(&queue->ring, last->at, last->at_wrap, last->count))
            break;
        virtio_ring_go_back(&queue->ring, last->at, last->at_wrap);
        spare(last);
    }
}

int virtqueue_restore(struct virtqueue *queue, const struct virtio_chain *like)
{
    if (like->count == 0 || queue->in_flight + like->count > queue->ring.size)
        return -ENOSPC;
    struct virtio_chain *chain = make(queue);
    if (!chain)
        return -ENOMEM;
    /* Without any, they are in the ring. */
    if (keep_descs(chain, like->descs, like->num_descs) < 0) {
        list_append(&queue->spare, &chain->link);
        return -ENOMEM;
    }
    chain->mark = like->mark;
    chain->id = like->id;
    chain->at = like->at;
    chain->at_wrap = like->at_wrap;
    chain->count = like->count;
    chain->state = like->state;
    chain->written = like->written;
    chain->has_writable = like->written > 0;
    ++*count_of(queue, chain->state);
    queue->in_flight += chain->count;
    list_append(&queue->chains, &chain->link);
    return 0;
}
