// SPDX-License-Identifier: BSD-3-Clause
#include "queue_admin.h"

#include "completion.h"
#include "nvme.h"

/* The fields that both kinds of creation have in the same places. */
struct creation {
    uint16_t id;
    uint32_t size;
    uint64_t base;
    uint32_t flags;
    uint16_t high; /* the vector, or the completion queue */
};

static void refuse(struct nvme_request *request, enum nvme_status status)
{
    completion_post(request, (uint16_t)(status | NVME_DO_NOT_RETRY));
}

static bool is_io_queue(uint32_t id)
{
    return id >= 1 && id <= NVME_IO_QUEUES;
}

/* Reads and checks the fields that both have. Returns an enum nvme_status. */
static uint16_t read_creation(const struct nvme_request *request, uint32_t entry_size,
                              uint32_t wanted_entry_size, struct creation *ret_creation)
{
    const struct nvme_command *command = &request->command;
    *ret_creation = (struct creation){.id = (uint16_t)command->dword[10],
                                      .size = (command->dword[10] >> 16) + 1,
                                      .base = command->prp1,
                                      .flags = command->dword[11] & 0xffff,
                                      .high = (uint16_t)(command->dword[11] >> 16)};
    if (!is_io_queue(ret_creation->id))
        return NVME_INVALID_QUEUE_ID;
    if (ret_creation->size < 2 || ret_creation->size > NVME_QUEUE_ENTRIES ||
        entry_size != wanted_entry_size)
        return NVME_INVALID_QUEUE_SIZE;
    if (!(ret_creation->flags & NVME_QUEUE_CONTIGUOUS)) /* CAP.CQR demands it */
        return NVME_INVALID_FIELD;
    if (ret_creation->base % NVME_PAGE)
        return NVME_PRP_OFFSET_INVALID;
    return NVME_SUCCESS;
}

void queue_admin_create_cq(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    struct creation creation;
    uint16_t status =
        read_creation(request, NVME_CC_IOCQES(nvme->controller.cc), NVME_CQES, &creation);
    if (status != NVME_SUCCESS)
        refuse(request, status);
    else if (nvme->queues.cq[creation.id].exists)
        refuse(request, NVME_INVALID_QUEUE_ID);
    else if (creation.high >= interrupt_vectors(nvme))
        refuse(request, NVME_INVALID_VECTOR);
    else {
        queue_cq_create(nvme, creation.id, creation.base, creation.size,
                        creation.flags & NVME_QUEUE_INTERRUPTS, creation.high);
        completion_post(request, NVME_SUCCESS);
    }
}

void queue_admin_create_sq(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    struct creation creation;
    uint16_t status =
        read_creation(request, NVME_CC_IOSQES(nvme->controller.cc), NVME_SQES, &creation);
    if (status != NVME_SUCCESS)
        refuse(request, status);
    else if (nvme->queues.sq[creation.id].state != SQ_ABSENT || !is_io_queue(creation.high))
        refuse(request, NVME_INVALID_QUEUE_ID);
    else if (!queue_cq(nvme, creation.high))
        refuse(request, NVME_CQ_INVALID);
    else {
        queue_sq_create(nvme, creation.id, creation.base, creation.size, creation.high);
        completion_post(request, NVME_SUCCESS);
    }
}

void queue_admin_delete_cq(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    uint32_t id = request->command.dword[10] & 0xffff;
    struct nvme_cq *cq = is_io_queue(id) ? queue_cq(nvme, id) : NULL;
    if (!cq)
        refuse(request, NVME_INVALID_QUEUE_ID);
    else if (cq->sq_count > 0)
        refuse(request, NVME_INVALID_QUEUE_DELETION);
    else {
        *cq = (struct nvme_cq){0};
        completion_post(request, NVME_SUCCESS);
    }
}

void queue_admin_delete_sq(struct nvme_request *request)
{
    uint32_t id = request->command.dword[10] & 0xffff;
    struct nvme_sq *sq = is_io_queue(id) ? queue_sq(request->nvme, id) : NULL;
    if (!sq) {
        refuse(request, NVME_INVALID_QUEUE_ID);
        return;
    }
    sq->state = SQ_DELETING;
    sq->deletion = request;
}

/* Commands of the queue that wait for room in a completion queue are as good as ended: the guest
 * must not expect their completions. */
static unsigned finished_of(const struct nvme_sq *sq)
{
    unsigned count = 0;
    for (const struct nvme_request *request = sq->cq->finished; request; request = request->next)
        count += request->sq == sq;
    return count;
}

static bool is_of_queue(const struct nvme_request *request, const void *argument)
{
    return request->sq == argument;
}

void queue_admin_update(struct nvme *nvme)
{
    for (unsigned i = 1; i < nvme->queues.limit; i++) {
        struct nvme_sq *sq = &nvme->queues.sq[i];
        if (sq->state != SQ_DELETING)
            continue;
        completion_end_parked(nvme, is_of_queue, sq, NVME_ABORTED_BY_DELETION);
        if (sq->outstanding > finished_of(sq))
            continue;
        struct nvme_request *deletion = sq->deletion;
        queue_sq_remove(nvme, sq);
        completion_post(deletion, NVME_SUCCESS);
    }
}
