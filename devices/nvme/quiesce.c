// SPDX-License-Identifier: BSD-3-Clause
#include "quiesce.h"

#include <errno.h>

#include "nvme.h"

#define NS_PER_MS UINT64_C(1000000)

static void set_timer(struct nvme_quiesce *quiesce)
{
    if (quiesce->drain.runs)
        ob_timer_set(quiesce->timer, block_drain_next_ms(&quiesce->drain) * NS_PER_MS);
}

static void timer_due(void *argument)
{
    struct nvme_quiesce *quiesce = &((struct nvme *)argument)->quiesce;
    block_drain_step(&quiesce->drain, block_clock_ms());
    set_timer(quiesce);
}

int quiesce_init(struct nvme *nvme)
{
    return ob_timer_new(nvme->device, timer_due, nvme, &nvme->quiesce.timer, NULL);
}

void quiesce_done(struct nvme *nvme)
{
    ob_timer_free(nvme->quiesce.timer);
}

void quiesce_begin(struct nvme *nvme)
{
    struct nvme_quiesce *quiesce = &nvme->quiesce;
    if (quiesce->on)
        return;
    quiesce->on = true;
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        quiesce->blocks[i] = nvme->namespaces.list[i].block;
    block_drain_begin(&quiesce->drain, quiesce->blocks, nvme->namespaces.count, BLOCK_DRAIN_MS,
                      block_clock_ms());
    set_timer(quiesce);
}

bool quiesce_poll(struct nvme *nvme)
{
    struct nvme_quiesce *quiesce = &nvme->quiesce;
    return quiesce->drain.runs && block_drain_step(&quiesce->drain, block_clock_ms());
}

int quiesce_ask(struct nvme *nvme)
{
    struct nvme_quiesce *quiesce = &nvme->quiesce;
    const uint64_t now_ms = block_clock_ms();
    bool waits = nvme->succession.waits && now_ms < quiesce->drain.end_ms;
    if (!block_drain_step(&quiesce->drain, now_ms) || waits)
        return 0;
    quiesce_end(nvme);
    return nvme->requests.in_flight == 0 && !nvme->succession.waits ? 1 : -ETIMEDOUT;
}

void quiesce_end(struct nvme *nvme)
{
    nvme->quiesce.on = false;
    block_drain_end(&nvme->quiesce.drain);
    ob_timer_cancel(nvme->quiesce.timer);
}
