// SPDX-License-Identifier: BSD-3-Clause
/*
 * Supervisor: a virtual machine's processes, from the first to the last.
 *
 * Start: every device program is started and tells that it is ready; then the VMM is. A VMM that
 * finds its devices ready never waits for one.
 *
 * Run: the supervisor waits. It hands lines of devices to the log and reaps processes that end. If a
 * device ends early, the log says so, and the VMM keeps a device that no longer answers
 * (docs/failures.md).
 *
 * End: the VMM has ended, or SIGTERM, SIGINT or SIGHUP asks for it: then the VMM is asked to end
 * first, and devices last, since a device has to finish the guest's writes. Each has
 * LIMIT_STOP_MS; a second signal kills the VMM at once.
 *
 * If the supervisor is killed, the VMM and its devices keep running, and another supervisor can
 * continue (guardian.h); or they end, if the plan says so.
 */
#ifndef OUTBOARD_SUPERVISOR_SUPERVISOR_H
#define OUTBOARD_SUPERVISOR_SUPERVISOR_H

#include "supervisor/plan.h"

/* Exit statuses: who failed. */
enum supervisor_status {
    SUPERVISOR_OK = 0,
    SUPERVISOR_SELF = 1,   /* this program, by a lack of memory or descriptors */
    SUPERVISOR_DEVICE = 3, /* a device did not start, or ended by itself with a failure */
    SUPERVISOR_VMM = 4,    /* the VMM did not start, or ended with a failure */
};

/* Runs the machine until its end. Devices that are added and removed meanwhile change the plan. */
enum supervisor_status supervisor_run(struct plan *plan);

struct adoption;
/* The same for a machine whose supervisor has died. The adoption is closed. */
enum supervisor_status supervisor_adopt(struct plan *plan, struct adoption *adoption);

#endif
