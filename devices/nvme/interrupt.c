// SPDX-License-Identifier: BSD-3-Clause
#include "interrupt.h"

#include <outboard/irq.h>

#include "nvme.h"

#define ENOUGH       16u /* completions that are worth an interrupt */
#define WORTHWHILE   4u  /* a wait that brings fewer was in vain */
#define TRIAL_ROUNDS 64u
#define TRIAL_AFTER  128u/* interrupts without a wait */
#define MOST_ROUNDS  256u

static bool is_masked(const struct nvme *nvme, const struct nvme_cq *cq)
{
    return !cq->interrupts || (cq->vector < 32 && nvme->controller.intms >> cq->vector & 1);
}

static bool is_held(const struct nvme_cq *cq)
{
    return cq->hold.fresh > 0 && cq->hold.patience > 0;
}

void interrupt_update(struct nvme *nvme)
{
    bool level = false;
    for (unsigned i = 0; i < nvme->queues.limit; i++) {
        const struct nvme_cq *cq = &nvme->queues.cq[i];
        level |= queue_cq_pending(cq) && !is_held(cq) && !is_masked(nvme, cq);
    }
    if (level)
        ob_irq_raise(nvme->device);
    else
        ob_irq_lower(nvme->device);
}

/* Learns from the wait that is over. */
static void learn(struct nvme_hold *hold)
{
    if (hold->patience > 0) {
        hold->unheld = 0;
        if (hold->fresh < WORTHWHILE)
            hold->patience = 0;
    } else if (++hold->unheld == TRIAL_AFTER) {
        hold->patience = TRIAL_ROUNDS;
    }
}

static void tell(struct nvme *nvme, struct nvme_cq *cq)
{
    learn(&cq->hold);
    cq->hold.fresh = 0;
    /* The guest may have found them by itself. */
    if (cq->interrupts && queue_cq_pending(cq))
        ob_irq_signal(nvme->device, cq->vector);
}

/* Counts the round. A command that came while completions waited shows how long the next one may
 * take. */
static void count(struct nvme_hold *hold)
{
    if (!hold->arrived) {
        hold->quiet++;
        return;
    }
    if (hold->waits) {
        unsigned wanted = 2 * hold->quiet + 2;
        hold->patience -= hold->patience / 8;
        if (hold->patience < wanted)
            hold->patience = wanted < MOST_ROUNDS ? wanted : MOST_ROUNDS;
    }
    hold->quiet = 0;
    hold->arrived = false;
}

static bool is_due(const struct nvme_hold *hold)
{
    return hold->fresh > 0 && (hold->fresh >= ENOUGH || hold->quiet >= hold->patience);
}

void interrupt_round(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->queues.limit; i++) {
        struct nvme_cq *cq = &nvme->queues.cq[i];
        count(&cq->hold);
        if (is_due(&cq->hold))
            tell(nvme, cq);
        cq->hold.waits = cq->hold.fresh > 0;
    }
    interrupt_update(nvme);
}

void interrupt_tell(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->queues.limit; i++)
        if (nvme->queues.cq[i].hold.fresh > 0)
            tell(nvme, &nvme->queues.cq[i]);
    interrupt_update(nvme);
}
