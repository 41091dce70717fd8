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
    for (unsigned i = 0; i < nvme->queues.limit; i++) {
        struct nvme_cq *cq = &nvme->queues.cq[i];
        if (cq->news && cq->interrupts)
            ob_irq_signal(nvme->device, cq->vector);
        cq->news = false;
        level |= asserts(nvme, cq);
    }
    if (level)
        ob_irq_raise(nvme->device);
    else
        ob_irq_lower(nvme->device);
}
