// SPDX-License-Identifier: BSD-3-Clause
#include "interrupt.h"

#include <outboard/irq.h>

#include "nvme.h"

static bool asserts(const struct nvme *nvme, const struct nvme_cq *cq)
{
    bool masked = cq->vector < 32 && nvme->controller.intms >> cq->vector & 1;
    return queue_cq_pending(cq) && cq->interrupts && !masked;
}

void interrupt_update(struct nvme *nvme)
{
    bool level = false;
    for (unsigned i = 0; i < NVME_QUEUES && !level; i++)
        level = asserts(nvme, &nvme->queues.cq[i]);
    if (level)
        ob_irq_raise(nvme->device);
    else
        ob_irq_lower(nvme->device);
}
