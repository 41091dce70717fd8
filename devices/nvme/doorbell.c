// SPDX-License-Identifier: BSD-3-Clause
#include "doorbell.h"

#include "interrupt.h"
#include "nvme.h"

static void refuse(struct nvme *nvme, unsigned info)
{
    async_event_raise(nvme, NVME_EVENT_ERROR, info, NVME_LOG_ERROR);
}

static void write_sq_tail(struct nvme *nvme, uint32_t id, uint32_t tail)
{
    struct nvme_sq *sq = queue_sq(nvme, id);
    if (!sq)
        refuse(nvme, NVME_ERROR_DOORBELL_REGISTER);
    else if (!queue_set_sq_tail(sq, tail))
        refuse(nvme, NVME_ERROR_DOORBELL_VALUE);
}

/* Room for completions that wait is used only when a successor would know of it too. */
static void head_moved(struct nvme *nvme, const struct nvme_cq *cq)
{
    if (cq->finished)
        nvme->requests.turnover++;
    interrupt_update(nvme);
}

static void write_cq_head(struct nvme *nvme, uint32_t id, uint32_t head)
{
    struct nvme_cq *cq = queue_cq(nvme, id);
    if (!cq)
        refuse(nvme, NVME_ERROR_DOORBELL_REGISTER);
    else if (!queue_set_cq_head(cq, head))
        refuse(nvme, NVME_ERROR_DOORBELL_VALUE);
    else
        head_moved(nvme, cq);
}

void doorbell_ring(struct nvme *nvme, uint64_t index, uint32_t value)
{
    uint32_t id = index / 2 < NVME_QUEUES ? (uint32_t)(index / 2) : NVME_QUEUES;
    if (index % 2 == 0)
        write_sq_tail(nvme, id, value & 0xffff);
    else
        write_cq_head(nvme, id, value & 0xffff);
}
