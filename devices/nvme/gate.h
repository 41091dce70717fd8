// SPDX-License-Identifier: BSD-3-Clause
/*
 * Gate: the actions that the controller's run state permits. Every file may ask, so none of them needs the
 * controller, which stands above them and changes the state.
 */
#ifndef OUTBOARD_DEVICES_NVME_GATE_H
#define OUTBOARD_DEVICES_NVME_GATE_H

#include <stdbool.h>

struct nvme;

/* Whether doorbells count. */
bool gate_runs(const struct nvme *nvme);
/* Whether commands may be fetched. */
bool gate_fetches(const struct nvme *nvme);
/* Whether a command that was fetched may begin its next step. */
bool gate_goes_on(const struct nvme *nvme);
/* The controller can't continue, section 9.5: it shuts the gate until a reset. */
void gate_fail(struct nvme *nvme);

#endif
