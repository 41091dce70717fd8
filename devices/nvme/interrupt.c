// SPDX-License-Identifier: BSD-3-Clause
#include "interrupt.h"

#include <outboard/irq.h>

#include "nvme.h"

#define ENOUGH        16u /* completions that are worth an interrupt */
#define WORTHWHILE    4u  /* a wait that brings fewer was useless */
#define VAIN_WAITS    2u  /* in a row, after which no wait is tried for a while */
#define TRIAL_ROUNDS  32u
#define MOST_ROUNDS   256u
#define DECAY         32u /* commands after which a gap is half forgotten, about */
#define LONGEST_WHILE 64u

unsigned interrupt_vectors(const struct nvme *nvme)
{
    switch (nvme->interrupts) {
    case NVME_MSIX:
        return NVME_VECTORS;
    case NVME_MSI:
        return NVME_MSI_VECTORS;
    default:
        return 1;
    }
}

static bool is_masked(const struct nvme *nvme, const struct nvme_cq *cq)
{
    return !cq->interrupts || (cq->vector < 32 && nvme->controller.intms >> cq->vector & 1);
}

static bool is_held(const struct nvme_cq *cq)
{
    return cq->interrupts && cq->hold.fresh > 0 && cq->hold.patience > 0;
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

/* The guest may have found the completions by itself. */
static void send_message(struct nvme *nvme, const struct nvme_cq *cq)
{
    bool masked = nvme->interrupts == NVME_MSI && is_masked(nvme, cq);
    if (cq->interrupts && queue_cq_pending(cq) && !masked)
        ob_irq_signal(nvme->device, cq->vector);
}

void interrupt_mask(struct nvme *nvme, uint32_t vectors)
{
    nvme->controller.intms |= vectors;
    interrupt_update(nvme);
}

/* Completions that are held back are told later. */
void interrupt_unmask(struct nvme *nvme, uint32_t vectors)
{
    uint32_t unmasked = nvme->controller.intms & vectors;
    nvme->controller.intms &= ~vectors;
    for (unsigned i = 0; i < nvme->queues.limit && nvme->interrupts == NVME_MSI; i++) {
        const struct nvme_cq *cq = &nvme->queues.cq[i];
        if (unmasked >> cq->vector & 1 && !is_held(cq))
            send_message(nvme, cq);
    }
    interrupt_update(nvme);
}

/* Has no completions wait for a while, which is longer each time. */
static void give_up(struct nvme_hold *hold)
{
    hold->patience = 0;
    hold->until_trial = hold->pause;
    if (hold->pause < LONGEST_WHILE)
        hold->pause *= 2;
}

/* Rounds in which a guest sends its next command, by the rounds that the last one took. */
static unsigned wait_for_gap(unsigned gap)
{
    unsigned wanted = 2 * gap + 2;
    return wanted < MOST_ROUNDS ? wanted : MOST_ROUNDS;
}

static void begin_trial(struct nvme_hold *hold)
{
    unsigned wanted = wait_for_gap(hold->gap);
    hold->patience = wanted > TRIAL_ROUNDS ? wanted : TRIAL_ROUNDS;
}

/* Learns from the completions that the guest is about to see. */
static void learn(struct nvme_hold *hold)
{
    if (hold->patience == 0) {
        if (hold->until_trial > 0)
            hold->until_trial--;
        else
            begin_trial(hold);
    } else if (hold->fresh >= WORTHWHILE) {
        hold->vain = 0;
        hold->pause = NVME_HOLD_PAUSE;
    } else if (++hold->vain >= VAIN_WAITS) {
        hold->vain = 0;
        give_up(hold);
    }
}

static void tell(struct nvme *nvme, struct nvme_cq *cq)
{
    learn(&cq->hold);
    cq->hold.fresh = 0;
    cq->hold.waits = false;
    send_message(nvme, cq);
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
        unsigned wanted = wait_for_gap(hold->quiet);
        hold->patience -= (hold->patience + DECAY - 1) / DECAY;
        if (hold->patience < wanted)
            hold->patience = wanted;
    }
    hold->gap = hold->quiet;
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

bool interrupt_is_held(const struct nvme *nvme)
{
    bool held = false;
    for (unsigned i = 0; i < nvme->queues.limit; i++)
        held |= is_held(&nvme->queues.cq[i]);
    return held;
}

void interrupt_tell(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->queues.limit; i++)
        if (nvme->queues.cq[i].hold.fresh > 0)
            tell(nvme, &nvme->queues.cq[i]);
    interrupt_update(nvme);
}
