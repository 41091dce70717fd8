// SPDX-License-Identifier: BSD-3-Clause
/*
 * Schedule: which submission queue is fetched from, section 4.13. Round robin: every I/O queue in
 * turn gives a burst of commands. Admin commands go first.
 */
#ifndef OUTBOARD_DEVICES_NVME_SCHEDULE_H
#define OUTBOARD_DEVICES_NVME_SCHEDULE_H

#include <stdbool.h>

struct nvme;

/* Fetches and starts commands, NVME_BUDGET at most. Returns whether there may be more to fetch. */
bool schedule_run(struct nvme *nvme);

#endif
