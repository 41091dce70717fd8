// SPDX-License-Identifier: BSD-3-Clause
#include "shadow.h"

#include <stdatomic.h>

#include <outboard/dma.h>
#include <outboard/irq.h>

#include "bytes.h"
#include "completion.h"
#include "doorbell.h"
#include "gate.h"
#include "nvme.h"

/* Both pages are laid out as the registers are, from the first doorbell on. */
#define ENTRIES_LEN ((size_t)2 * NVME_QUEUES * NVME_DOORBELL_STRIDE)

static uint64_t place(uint64_t page, unsigned index)
{
    return page + (uint64_t)index * NVME_DOORBELL_STRIDE;
}

static unsigned sq_index(const struct nvme_sq *sq)
{
    return 2u * sq->id;
}

static unsigned cq_index(const struct nvme_cq *cq)
{
    return 2u * cq->id + 1;
}

/* Memory that the VMM has taken back tells nothing and takes nothing. */
static bool read_changed(struct nvme *nvme, unsigned index, struct nvme_mirror *mirror)
{
    uint8_t bytes[4];
    if (ob_dma_read(nvme->device, place(nvme->shadow.doorbells, index), bytes, sizeof(bytes)) < 0)
        return false;
    uint32_t value = get32(bytes);
    if (value == mirror->doorbell)
        return false;
    mirror->doorbell = value;
    return true;
}

static void write_event(struct nvme *nvme, unsigned index, struct nvme_mirror *mirror,
                        uint32_t event)
{
    uint8_t bytes[4];
    event &= 0xffff;
    if (mirror->event == event)
        return;
    put32(bytes, event);
    if (ob_dma_write(nvme->device, place(nvme->shadow.events, index), bytes, sizeof(bytes)) == 0)
        mirror->event = event;
}

/* Whether the guest is to tell of each change of a head even while we look: where the VMM takes
 * the access for the end of the interrupt. */
static bool wants_accesses(const struct nvme *nvme)
{
    return ob_irq_ends_by_access(nvme->device);
}

static bool look_at_sq(struct nvme *nvme, struct nvme_sq *sq)
{
    if (sq->state != SQ_LIVE || !read_changed(nvme, sq_index(sq), &sq->mirror))
        return false;
    doorbell_ring(nvme, sq_index(sq), sq->mirror.doorbell);
    write_event(nvme, sq_index(sq), &sq->mirror, sq->mirror.doorbell - 1);
    return true;
}

/* A head matters only while there are entries that it could have passed. Where the guest must write
 * the register it may not have looked at the event yet, which therefore waits for that write. */
static bool look_at_cq(struct nvme *nvme, struct nvme_cq *cq)
{
    bool is_told = cq->mirror.event == cq->mirror.doorbell;
    if (!queue_cq_pending(cq) || !read_changed(nvme, cq_index(cq), &cq->mirror))
        return false;
    doorbell_ring(nvme, cq_index(cq), cq->mirror.doorbell);
    if (!wants_accesses(nvme))
        write_event(nvme, cq_index(cq), &cq->mirror, cq->mirror.doorbell - 1);
    else if (!is_told)
        write_event(nvme, cq_index(cq), &cq->mirror, cq->mirror.doorbell);
    return true;
}

bool shadow_look(struct nvme *nvme)
{
    bool changed = false;
    if (!nvme->shadow.on || !gate_runs(nvme))
        return false;
    for (unsigned i = 1; i < nvme->queues.limit; i++) {
        changed |= look_at_sq(nvme, &nvme->queues.sq[i]);
        changed |= look_at_cq(nvme, &nvme->queues.cq[i]);
    }
    if (changed) /* entries from before the doorbell's move are read after it */
        atomic_thread_fence(memory_order_acquire);
    return changed;
}

void shadow_hear(struct nvme *nvme, uint64_t index)
{
    struct nvme_cq *cq = index % 2 && index < UINT64_C(2) * NVME_QUEUES
                             ? queue_cq(nvme, (uint32_t)(index / 2))
                             : NULL;
    if (!wants_accesses(nvme))
        return;
    shadow_look(nvme);
    if (cq)
        write_event(nvme, cq_index(cq), &cq->mirror, cq->mirror.doorbell);
}

bool shadow_listen(struct nvme *nvme)
{
    if (!nvme->shadow.on || !gate_runs(nvme))
        return false;
    for (unsigned i = 1; i < nvme->queues.limit; i++) {
        struct nvme_sq *sq = &nvme->queues.sq[i];
        struct nvme_cq *cq = &nvme->queues.cq[i];
        if (sq->state == SQ_LIVE)
            write_event(nvme, sq_index(sq), &sq->mirror, sq->mirror.doorbell);
        if (cq->finished) /* only its head makes room */
            write_event(nvme, cq_index(cq), &cq->mirror, cq->mirror.doorbell);
    }
    atomic_thread_fence(memory_order_seq_cst);
    return shadow_look(nvme);
}

/* Before anybody has looked, every change is told. */
static int write_first_events(struct nvme *nvme)
{
    uint8_t events[ENTRIES_LEN] = {0};
    for (unsigned i = 0; i < nvme->queues.limit; i++) {
        struct nvme_sq *sq = &nvme->queues.sq[i];
        struct nvme_cq *cq = &nvme->queues.cq[i];
        sq->mirror = (struct nvme_mirror){.doorbell = sq->tail, .event = sq->tail};
        cq->mirror = (struct nvme_mirror){.doorbell = cq->head, .event = cq->head};
        put32(events + place(0, 2 * i), sq->tail);
        put32(events + place(0, 2 * i + 1), cq->head);
    }
    return ob_dma_write(nvme->device, nvme->shadow.events, events, sizeof(events));
}

void shadow_configure(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    const struct nvme_command *command = &request->command;
    uint8_t doorbells[ENTRIES_LEN];
    /* In one page, our bytes would be doorbells. */
    if (command->prp1 % NVME_PAGE || command->prp2 % NVME_PAGE || command->prp1 == command->prp2) {
        completion_post(request, NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
        return;
    }
    nvme->shadow = (struct nvme_shadow){.doorbells = command->prp1, .events = command->prp2};
    nvme->shadow.on = ob_dma_read(nvme->device, command->prp1, doorbells, sizeof(doorbells)) == 0 &&
                      write_first_events(nvme) == 0;
    completion_post(request, nvme->shadow.on ? NVME_SUCCESS : NVME_DATA_TRANSFER_ERROR);
}

void shadow_follow_admin(struct nvme *nvme)
{
    struct nvme_sq *sq = &nvme->queues.sq[0];
    struct nvme_cq *cq = &nvme->queues.cq[0];
    if (!nvme->shadow.on)
        return;
    write_event(nvme, sq_index(sq), &sq->mirror, sq->tail);
    write_event(nvme, cq_index(cq), &cq->mirror, cq->head);
}

void shadow_reset(struct nvme *nvme)
{
    nvme->shadow = (struct nvme_shadow){0};
}
