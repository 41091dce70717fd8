// SPDX-License-Identifier: BSD-3-Clause
/* A VMM's abilities, as it tells them itself. */
#ifndef OUTBOARD_SUPERVISOR_VMM_PROBE_H
#define OUTBOARD_SUPERVISOR_VMM_PROBE_H

#include "supervisor/plan.h"

/* A program with "qemu" in its name is asked for its devices (-device help); any other can do
 * nothing that we know of. 0; -ENOENT and other errnos of exec; -ETIMEDOUT. */
int vmm_probe(const char *program, struct vmm_ability *ret_ability, struct ob_fault *fault);

#endif
