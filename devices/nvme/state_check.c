// SPDX-License-Identifier: BSD-3-Clause
/*
 * The conditions for a saved state: it is of the same images, and
 * the controller can be in it. The latter are the invariants of the other files; whatever
 * guest memory holds, a controller that keeps them stays within its bounds.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "state.h"

/* Longer than any controller has been on, and short enough to count from. */
#define SECONDS_MAX (UINT64_C(1) << 40)

static int refuse(struct ob_fault *fault, const char *reason)
{
    return ob_fault_set(fault, -EINVAL, "the state is damaged: %s is impossible; save it again",
                        reason);
}

static int check_namespace(const struct nvme_namespace *ns,
                           const struct nvme_saved_namespace *saved, struct ob_fault *fault)
{
    const char *name = ns->block->name;
    if (memcmp(saved->uuid, ns->uuid, sizeof(ns->uuid)) != 0)
        return ob_fault_set(fault, -EINVAL,
                            "image %" PRIu32
                            ", %.60s: the state was saved with another image; give the same images "
                            "in the same order, each with its earlier serial=",
                            ns->id, name);
    if (saved->block_shift != ns->block_shift)
        return ob_fault_set(fault, -EINVAL,
                            "image %" PRIu32
                            ", %.60s: the state was saved with other blocks; give block-size=%u",
                            ns->id, name, saved->block_shift == 9 ? 512 : 4096);
    if (saved->readonly != ns->block->readonly)
        return ob_fault_set(fault, -EINVAL,
                            "image %" PRIu32
                            ", %.60s: the state was saved with the image %s; %s 'readonly'",
                            ns->id, name, saved->readonly ? "read only" : "writable",
                            saved->readonly ? "give" : "leave out");
    if (saved->blocks > ns->blocks)
        return ob_fault_set(fault, -EINVAL,
                            "image %" PRIu32 ", %.60s: got %" PRIu64 " blocks, expected %" PRIu64
                            " as in the state; give the image that was saved",
                            ns->id, name, ns->blocks, saved->blocks);
    return 0;
}

static int check_identity(const struct nvme *nvme, const struct nvme_saved *saved,
                          struct ob_fault *fault)
{
    int err = 0;
    if (memcmp(saved->serial, nvme->serial, sizeof(saved->serial)) != 0)
        return ob_fault_set(fault, -EINVAL,
                            "serial number: the state has '%.*s', this controller has '%s'; give "
                            "the first image the serial= of the state",
                            (int)sizeof(saved->serial), (const char *)saved->serial, nvme->serial);
    if (saved->namespace_count != nvme->namespaces.count)
        return ob_fault_set(
            fault, -EINVAL,
            "images: the state has %u, this controller has %u; give the same images",
            saved->namespace_count, nvme->namespaces.count);
    for (unsigned i = 0; i < nvme->namespaces.count && err == 0; i++)
        err = check_namespace(&nvme->namespaces.list[i], &saved->namespaces[i], fault);
    return err;
}

static bool page_aligned(uint64_t address)
{
    return address % NVME_PAGE == 0;
}

/* CSTS follows from where the controller is. */
static bool status_is_possible(const struct nvme_controller *controller)
{
    static const uint32_t shutdowns[] = {
        [SHUTDOWN_NONE] = 0,
        [SHUTDOWN_DRAINS] = NVME_CSTS_SHST_OCCURS,
        [SHUTDOWN_FLUSHES] = NVME_CSTS_SHST_OCCURS,
        [SHUTDOWN_COMPLETE] = NVME_CSTS_SHST_COMPLETE,
    };
    const uint32_t known = NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST_MASK;
    bool ready = controller->csts & NVME_CSTS_RDY;
    return controller->state <= NVME_STOPPING && controller->shutdown <= SHUTDOWN_COMPLETE &&
           !(controller->csts & ~known) && !(ready && controller->state == NVME_OFF) &&
           (controller->csts & NVME_CSTS_SHST_MASK) == shutdowns[controller->shutdown];
}

static bool shadow_is_possible(const struct nvme_saved *saved)
{
    const struct nvme_shadow *shadow = &saved->shadow;
    return !shadow->on || (saved->queues.cq[0].exists && page_aligned(shadow->doorbells) &&
                           page_aligned(shadow->events) && shadow->doorbells != shadow->events);
}

static int check_controller(const struct nvme_saved *saved, struct ob_fault *fault)
{
    const struct nvme_controller *controller = &saved->controller;
    bool has_queues = saved->queues.cq[0].exists;
    if (!status_is_possible(controller) || controller->cc & ~NVME_CC_WRITABLE ||
        controller->aqa & ~NVME_AQA_WRITABLE || !page_aligned(controller->asq) ||
        !page_aligned(controller->acq))
        return refuse(fault, "a register");
    if (has_queues != !!(controller->csts & NVME_CSTS_RDY) ||
        has_queues != (saved->queues.sq[0].state != SQ_ABSENT))
        return refuse(fault, "the admin queue");
    return 0;
}

static bool ring_is_possible(uint64_t base, uint32_t size, uint32_t head, uint32_t tail)
{
    return page_aligned(base) && size >= 2 && size <= NVME_QUEUE_ENTRIES && head < size &&
           tail < size;
}

static int check_cq(const struct nvme *nvme, const struct nvme_saved *saved, unsigned id,
                    struct ob_fault *fault)
{
    const struct nvme_cq *cq = &saved->queues.cq[id];
    if (!cq->exists)
        return 0;
    bool possible = saved->queues.cq[0].exists && cq->vector < interrupt_vectors(nvme) &&
                    ring_is_possible(cq->base, cq->size, cq->head, cq->tail);
    if (id == 0)
        possible &= cq->vector == 0 && cq->interrupts;
    return possible ? 0 : refuse(fault, "a completion queue");
}

static int check_sq(const struct nvme_saved *saved, unsigned id, struct ob_fault *fault)
{
    const struct nvme_sq *sq = &saved->queues.sq[id];
    unsigned cq = saved->completes[id];
    if (sq->state == SQ_ABSENT)
        return 0;
    bool possible = ring_is_possible(sq->base, sq->size, sq->head, sq->tail) && cq < NVME_QUEUES &&
                    (id == 0) == (cq == 0) && saved->queues.cq[cq].exists;
    return possible ? 0 : refuse(fault, "a submission queue");
}

static int check_queues(const struct nvme *nvme, const struct nvme_saved *saved,
                        struct ob_fault *fault)
{
    int err = saved->queues.turn < NVME_IO_QUEUES ? 0 : refuse(fault, "the turn of queues");
    for (unsigned i = 0; i < NVME_QUEUES && err == 0; i++)
        err = check_cq(nvme, saved, i, fault);
    for (unsigned i = 0; i < NVME_QUEUES && err == 0; i++)
        err = check_sq(saved, i, fault);
    return err;
}

/* How many of each kind there are. */
struct census {
    unsigned admin;
    unsigned io;
    unsigned events;
    bool deleted[NVME_QUEUES];
};

/* Of admin commands only these ever wait. */
static bool admin_may_wait(const struct nvme_saved *saved, const struct nvme_command *command,
                           struct census *census)
{
    uint32_t queue = command->dword[10] & 0xffff;
    if (command->opcode == NVME_ADMIN_ASYNC_EVENT)
        return ++census->events <= NVME_ASYNC_EVENTS;
    if (command->opcode != NVME_ADMIN_DELETE_SQ || queue == 0 || queue >= NVME_QUEUES ||
        saved->queues.sq[queue].state == SQ_ABSENT || census->deleted[queue])
        return false;
    census->deleted[queue] = true;
    return true;
}

static bool request_is_possible(const struct nvme_saved *saved,
                                const struct nvme_saved_request *request, struct census *census)
{
    const struct nvme_command *command = &request->command;
    if (request->sq >= NVME_QUEUES || saved->queues.sq[request->sq].state == SQ_ABSENT ||
        command->fuse > 3 || command->psdt > 3 || request->status & 0x8000)
        return false;
    if (request->sq != 0)
        return ++census->io <= NVME_IO_REQUESTS;
    return ++census->admin <= NVME_ADMIN_REQUESTS &&
           (request->finished || admin_may_wait(saved, command, census));
}

/* Finished commands come first, in the order of their completion queues, so that a state has one
 * form only. Returns the place of a request in that order. */
static unsigned place(const struct nvme_saved *saved, const struct nvme_saved_request *request)
{
    return request->finished ? saved->completes[request->sq] : NVME_QUEUES;
}

static int check_requests(const struct nvme_saved *saved, struct ob_fault *fault)
{
    struct census census = {0};
    unsigned last = 0;
    if (saved->request_count > NVME_SAVED_REQUESTS)
        return refuse(fault, "the number of commands");
    for (unsigned i = 0; i < saved->request_count; i++) {
        const struct nvme_saved_request *request = &saved->requests[i];
        if (!request_is_possible(saved, request, &census))
            return refuse(fault, "a command");
        if (place(saved, request) < last)
            return refuse(fault, "the order of commands");
        last = place(saved, request);
    }
    return 0;
}

int nvme_state_check(const struct nvme *nvme, const struct nvme_saved *saved,
                     struct ob_fault *fault)
{
    int err = check_identity(nvme, saved, fault);
    if (err == 0)
        err = check_controller(saved, fault);
    if (err == 0)
        err = check_queues(nvme, saved, fault);
    if (err == 0 && !shadow_is_possible(saved))
        err = refuse(fault, "a shadow doorbell");
    if (err == 0 && !features_are_possible(&saved->features))
        err = refuse(fault, "a feature");
    if (err == 0 && !async_events_are_possible(&saved->events))
        err = refuse(fault, "an event");
    if (err == 0 && saved->seconds > SECONDS_MAX)
        err = refuse(fault, "the time since power on");
    return err < 0 ? err : check_requests(saved, fault);
}
