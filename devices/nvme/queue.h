// SPDX-License-Identifier: BSD-3-Clause
/*
 * Queues: rings of entries in guest memory, section 4.1.
 *
 * A submission queue is filled by the guest, which says how far in the tail doorbell; we fetch from
 * head to tail. A completion queue is filled by us; its entries carry a phase bit that flips with
 * each round, and the guest says in the head doorbell how far it has read. A queue with head equal
 * to tail is empty, one with a single entry left is full.
 *
 * Entries are copied, never mapped: the guest's memory may be elsewhere by the next one.
 */
#ifndef OUTBOARD_DEVICES_NVME_QUEUE_H
#define OUTBOARD_DEVICES_NVME_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "bounds.h"
#include "request.h"

/* How long completions wait for more before the guest is interrupted (interrupt.h). */
struct nvme_hold {
    unsigned fresh;       /* completions posted since the last interrupt */
    unsigned quiet;       /* rounds since a command came */
    unsigned gap;         /* rounds between the last two */
    unsigned patience;    /* quiet rounds that end the wait; 0: no wait */
    unsigned vain;        /* waits in a row that brought too few */
    unsigned until_trial; /* interrupts without a wait, from now on... */
    unsigned pause;       /* ...and the next time */
    bool arrived;         /* a command, in this round */
    bool waits;           /* some were held back by the last round */
};

/* Interrupts before a wait is tried, at first and after one that was worth it. */
#define NVME_HOLD_PAUSE 8u

/* A doorbell that has a shadow (shadow.h). */
struct nvme_mirror {
    uint32_t doorbell; /* as it was read last */
    uint32_t event;    /* the event index, as it was written last */
};

/* The event index of a new queue in memory is not known. */
#define NVME_EVENT_UNKNOWN UINT32_MAX

struct nvme_cq {
    bool exists;
    uint16_t id;
    uint16_t vector;
    bool interrupts;
    uint32_t size; /* entries */
    uint64_t base;
    uint32_t head;
    uint32_t tail;
    bool phase;
    unsigned sq_count;             /* submission queues that complete here */
    struct nvme_request *finished; /* wait for a free entry */
    struct nvme_request **finished_end;
    struct nvme_mirror mirror; /* of the head */
    struct nvme_hold hold;
};

enum nvme_sq_state {
    SQ_ABSENT = 0,
    SQ_LIVE,
    SQ_DELETING, /* fetched from no more; ends with its last command */
};

struct nvme_sq {
    enum nvme_sq_state state;
    uint16_t id;
    uint32_t size;
    uint64_t base;
    uint32_t head;
    uint32_t tail;
    struct nvme_cq *cq;
    unsigned outstanding; /* commands fetched and not completed */
    struct nvme_request *deletion;
    struct nvme_mirror mirror; /* of the tail */
};

struct nvme_queues {
    struct nvme_cq cq[NVME_QUEUES];
    struct nvme_sq sq[NVME_QUEUES];
    unsigned
        limit;     /* no queue that was made since the last reset has this number or a higher one */
    unsigned turn; /* the I/O queue that is fetched from next, less one */
};

/* Queue numbers of which there is a queue that the guest may use; NULL for others. */
struct nvme_cq *queue_cq(struct nvme *nvme, uint32_t id);
struct nvme_sq *queue_sq(struct nvme *nvme, uint32_t id);

void queue_cq_create(struct nvme *nvme, uint16_t id, uint64_t base, uint32_t size, bool interrupts,
                     uint16_t vector);
void queue_sq_create(struct nvme *nvme, uint16_t id, uint64_t base, uint32_t size, uint16_t cq);
/* Lets the guest's memory alone from now on. No command of the queue may be in flight; completions
 * that wait for room are dropped. */
void queue_sq_remove(struct nvme *nvme, struct nvme_sq *sq);
void queue_reset(struct nvme *nvme);

/* Doorbells. False when the guest can't have meant the value. */
bool queue_set_sq_tail(struct nvme_sq *sq, uint32_t tail);
bool queue_set_cq_head(struct nvme_cq *cq, uint32_t head);

static inline bool queue_sq_empty(const struct nvme_sq *sq)
{
    return sq->head == sq->tail;
}

/* Whether the guest has completions to read. */
static inline bool queue_cq_pending(const struct nvme_cq *cq)
{
    return cq->exists && cq->head != cq->tail;
}

/* Takes the next command. 0, or the errno of ob_dma_read(). */
int queue_fetch(struct nvme *nvme, struct nvme_sq *sq, struct nvme_command *ret_command);
/* Puts a finished request in line. */
void queue_finish(struct nvme_cq *cq, struct nvme_request *request);
/* Posts the waiting entries, as far as there is room, and frees the requests. 0, or the errno of
 * ob_dma_write(). */
int queue_post(struct nvme *nvme, struct nvme_cq *cq);

#endif
