// SPDX-License-Identifier: BSD-3-Clause
/*
 * Virtqueue: the chains of a ring, from taken until given back.
 *
 * Chains stand in the order in which they were taken. Each is TAKEN (the device has it), RETURNED
 * (unused, and taken again before those in the ring) or DONE (to be shown to the driver). A
 * chain that is DONE leaves at once if the ring can be written and, with IN_ORDER, if it is the
 * oldest. If the newest chain is RETURNED, the ring goes back to it, as if it had never been taken.
 *
 * A hostile driver can show any number of chains. No more are in flight than the ring has room for:
 * one more is its error.
 */
#ifndef OUTBOARD_VIRTIO_VIRTQUEUE_H
#define OUTBOARD_VIRTIO_VIRTQUEUE_H

#include <outboard/virtio.h>

#include "base/list.h"
#include "virtio/ring.h"
#include "virtio/wire.h"

enum chain_state {
    CHAIN_TAKEN,
    CHAIN_RETURNED,
    CHAIN_DONE,
    CHAIN_ORPHAN, /* the device has it still, the ring has not */
};

struct virtio_chain {
    struct ob_virtio_chain chain; /* first: the device's view */
    struct list link;
    struct virtqueue *queue;
    enum chain_state state;
    uint16_t id, at, count; /* as struct virtio_fetched */
    uint16_t mark;          /* the wire's */
    bool at_wrap;
    uint32_t written; /* DONE: bytes, and if there was room for any */
    bool has_writable;
    unsigned num_descs, descs_room; /* copied from a packed ring */
    struct virtio_desc *descs;
    unsigned room; /* in spans */
    struct ob_dma_span *spans;
};

struct virtqueue {
    struct virtio_ring ring;
    unsigned index; /* for chains and the wire */
    unsigned max_segments;
    bool in_order;
    bool quiet;     /* the driver was told not to notify */
    bool listens;   /* the driver notifies the next chain */
    bool last_ones; /* only chains that were given back unused are taken */
    struct list chains;
    struct list orphans;
    struct list spare;
    unsigned taken; /* chains, by state; orphans count as taken */
    unsigned returned;
    unsigned done;
    unsigned in_flight; /* steps of the ring that all chains take */
    const struct virtio_wire *wire;
    void *owner;
};

void virtqueue_init(struct virtqueue *queue, unsigned index, unsigned max_segments, void *owner);
void virtqueue_done(struct virtqueue *queue);

/* The ring will start at another place. Chains that are not TAKEN are forgotten, TAKEN ones become
 * orphans, which are dropped when they are given back. */
void virtqueue_forget(struct virtqueue *queue);

/* Takes the next chain. 1; 0: the ring is empty, and the driver notifies the next only after
 * virtqueue_listen(); -EPROTO with the fault filled; -ENOMEM; or the errno of memory, with
 * queue->ring.missing filled. */
int virtqueue_take(struct virtqueue *queue, struct virtio_fetched *scratch,
                   struct virtio_chain **ret_chain, struct ob_fault *fault);
/* Whether there is a chain to take, or an error to be found by virtqueue_take(). */
bool virtqueue_has_next(struct virtqueue *queue);
/* Has the driver notify the next chain, and looks once more. As virtqueue_has_next(). */
bool virtqueue_listen(struct virtqueue *queue);
/* Gives a chain back. 0, or the errno of memory: the chain waits for virtqueue_flush(). */
int virtqueue_complete(struct virtio_chain *chain, uint32_t written);
/* Likewise, but the chain waits for virtqueue_flush(). */
void virtqueue_finish(struct virtio_chain *chain, uint32_t written);
void virtqueue_return(struct virtio_chain *chain);
/* Shows the driver the chains that wait for it. 0 or the errno of memory. */
int virtqueue_flush(struct virtqueue *queue);

/* Another process may have shown the driver chains that are DONE. The ring tells which: they leave. To
 * be called before anything else changes the queue. 0 or the errno of memory, and nothing has happened. */
int virtqueue_pass_shown(struct virtqueue *queue);

/* Puts a chain there that another process has taken: it is RETURNED, or DONE. Its descriptors, if it
 * has any, are copied. 0, -ENOSPC when the ring has no room for it, -ENOMEM. */
int virtqueue_restore(struct virtqueue *queue, const struct virtio_chain *like);

#endif
