// SPDX-License-Identifier: BSD-3-Clause
#include "queue.h"

#include <errno.h>
#include <stdatomic.h>

#include <outboard/dma.h>

#include "bytes.h"
#include "nvme.h"

/* Offsets in a submission queue entry, figure 105. */
enum {
    SQE_OPCODE = 0,
    SQE_FLAGS = 1,
    SQE_ID = 2,
    SQE_NSID = 4,
    SQE_PRP1 = 24,
    SQE_PRP2 = 32,
};

/* Offsets in a completion queue entry, figure 122. */
enum {
    CQE_RESULT = 0,
    CQE_SQ_HEAD = 8,
    CQE_SQ_ID = 10,
    CQE_COMMAND_ID = 12,
    CQE_STATUS = 14,
};

struct nvme_cq *queue_cq(struct nvme *nvme, uint32_t id)
{
    if (id >= NVME_QUEUES || !nvme->queues.cq[id].exists)
        return NULL;
    return &nvme->queues.cq[id];
}

struct nvme_sq *queue_sq(struct nvme *nvme, uint32_t id)
{
    if (id >= NVME_QUEUES || nvme->queues.sq[id].state != SQ_LIVE)
        return NULL;
    return &nvme->queues.sq[id];
}

static void raise_limit(struct nvme *nvme, uint16_t id)
{
    if (id >= nvme->queues.limit)
        nvme->queues.limit = id + 1u;
}

void queue_cq_create(struct nvme *nvme, uint16_t id, uint64_t base, uint32_t size, bool interrupts,
                     uint16_t vector)
{
    struct nvme_cq *cq = &nvme->queues.cq[id];
    *cq = (struct nvme_cq){.exists = true,
                           .id = id,
                           .vector = vector,
                           .interrupts = interrupts,
                           .size = size,
                           .base = base,
                           .phase = true,
                           .mirror = {.event = NVME_EVENT_UNKNOWN},
                           .hold = {.until_trial = NVME_HOLD_PAUSE, .pause = NVME_HOLD_PAUSE}};
    cq->finished_end = &cq->finished;
    raise_limit(nvme, id);
}

void queue_sq_create(struct nvme *nvme, uint16_t id, uint64_t base, uint32_t size, uint16_t cq)
{
    nvme->queues.sq[id] = (struct nvme_sq){.state = SQ_LIVE,
                                           .id = id,
                                           .size = size,
                                           .base = base,
                                           .cq = &nvme->queues.cq[cq],
                                           .mirror = {.event = NVME_EVENT_UNKNOWN}};
    nvme->queues.cq[cq].sq_count++;
    raise_limit(nvme, id);
}

/* Frees the completions that wait for room and came from this submission queue. */
static void drop_finished(struct nvme_cq *cq, const struct nvme_sq *sq)
{
    struct nvme_request **link = &cq->finished;
    while (*link) {
        struct nvme_request *request = *link;
        if (request->sq != sq) {
            link = &request->next;
            continue;
        }
        *link = request->next;
        request_free(request);
    }
    cq->finished_end = link;
}

void queue_sq_remove(struct nvme *nvme, struct nvme_sq *sq)
{
    drop_finished(sq->cq, sq);
    sq->cq->sq_count--;
    *sq = (struct nvme_sq){0};
}

void queue_reset(struct nvme *nvme)
{
    nvme->queues = (struct nvme_queues){0};
}

static uint32_t distance(uint32_t from, uint32_t to, uint32_t size)
{
    return to >= from ? to - from : to + size - from;
}

bool queue_set_sq_tail(struct nvme_sq *sq, uint32_t tail)
{
    uint32_t used = distance(sq->head, sq->tail, sq->size);
    if (tail >= sq->size || distance(sq->tail, tail, sq->size) > sq->size - 1 - used)
        return false;
    sq->tail = tail;
    return true;
}

bool queue_set_cq_head(struct nvme_cq *cq, uint32_t head)
{
    uint32_t used = distance(cq->head, cq->tail, cq->size);
    if (head >= cq->size || distance(cq->head, head, cq->size) > used)
        return false;
    cq->head = head;
    return true;
}

static void parse(const uint8_t entry[NVME_SQE_LEN], struct nvme_command *ret_command)
{
    *ret_command = (struct nvme_command){
        .opcode = entry[SQE_OPCODE],
        .fuse = entry[SQE_FLAGS] & 0x3,
        .psdt = entry[SQE_FLAGS] >> 6,
        .id = get16(entry + SQE_ID),
        .nsid = get32(entry + SQE_NSID),
        .prp1 = get64(entry + SQE_PRP1),
        .prp2 = get64(entry + SQE_PRP2),
    };
    for (unsigned i = 10; i < 16; i++)
        ret_command->dword[i] = get32(entry + 4 * (size_t)i);
}

int queue_fetch(struct nvme *nvme, struct nvme_sq *sq, struct nvme_command *ret_command)
{
    uint8_t entry[NVME_SQE_LEN];
    uint64_t at = sq->base + (uint64_t)sq->head * NVME_SQE_LEN;
    int err = ob_dma_read(nvme->device, at, entry, sizeof(entry));
    if (err < 0)
        return err;
    if (sq->id == 0)
        ob_dma_check_command(nvme->device, entry, sizeof(entry));
    parse(entry, ret_command);
    sq->head = (sq->head + 1) % sq->size;
    sq->cq->hold.arrived = true;
    return 0;
}

void queue_finish(struct nvme_cq *cq, struct nvme_request *request)
{
    request->next = NULL;
    *cq->finished_end = request;
    cq->finished_end = &request->next;
}

/* The dword with the phase bit goes last and in one piece: a guest that sees the bit must find the
 * rest of the entry there. */
static int post_one(struct nvme *nvme, struct nvme_cq *cq, const struct nvme_request *request)
{
    uint8_t entry[NVME_CQE_LEN] = {0};
    put32(entry + CQE_RESULT, request->result);
    put16(entry + CQE_SQ_HEAD, (uint16_t)request->sq->head);
    put16(entry + CQE_SQ_ID, request->sq->id);
    put16(entry + CQE_COMMAND_ID, request->command.id);
    put16(entry + CQE_STATUS, (uint16_t)(request->status << 1 | cq->phase));
    uint64_t at = cq->base + (uint64_t)cq->tail * NVME_CQE_LEN;
    int err = ob_dma_write(nvme->device, at, entry, CQE_COMMAND_ID);
    atomic_thread_fence(memory_order_release);
    if (err == 0)
        err = ob_dma_write(nvme->device, at + CQE_COMMAND_ID, entry + CQE_COMMAND_ID,
                           NVME_CQE_LEN - CQE_COMMAND_ID);
    return err;
}

static bool full(const struct nvme_cq *cq)
{
    return distance(cq->head, cq->tail, cq->size) == cq->size - 1;
}

/* A guest that has disabled the controller, or reset it, expects nothing in its queues. Without a
 * VMM, ended commands wait for the VMM that continues the guest. */
int queue_post(struct nvme *nvme, struct nvme_cq *cq)
{
    if (nvme->controller.state == NVME_STOPPING)
        return 0;
    while (cq->finished && !full(cq)) {
        struct nvme_request *request = cq->finished;
        int err = post_one(nvme, cq, request);
        if (err < 0)
            return err == -ENOTCONN ? 0 : err;
        cq->tail = (cq->tail + 1) % cq->size;
        cq->hold.fresh++;
        if (cq->tail == 0)
            cq->phase = !cq->phase;
        cq->finished = request->next;
        if (!cq->finished)
            cq->finished_end = &cq->finished;
        request_free(request);
    }
    return 0;
}
