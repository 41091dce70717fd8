// SPDX-License-Identifier: BSD-3-Clause
#include "gate.h"

#include "nvme.h"

bool gate_runs(const struct nvme *nvme)
{
    const struct nvme_controller *controller = &nvme->controller;
    return controller->state == NVME_ON && controller->shutdown == SHUTDOWN_NONE &&
           !(controller->csts & NVME_CSTS_CFS);
}

bool gate_fetches(const struct nvme *nvme)
{
    return gate_runs(nvme) && !nvme->paused && !nvme->quiesce.on && !nvme->succession.waits;
}

bool gate_goes_on(const struct nvme *nvme)
{
    return nvme->controller.state == NVME_ON && !nvme->paused && !nvme->succession.waits;
}

void gate_fail(struct nvme *nvme)
{
    nvme->controller.csts |= NVME_CSTS_CFS;
}
