// SPDX-License-Identifier: BSD-3-Clause
/*
 * Health: pauses the VM while a device hangs whose policy is PLAN_PAUSE, and tells the VM's run
 * state.
 *
 * A VM that somebody else has paused stays paused. If the device ends meanwhile, the VM stays paused
 * until somebody resumes it: its guest would find a device that does not answer.
 */
#ifndef OUTBOARD_SUPERVISOR_HEALTH_H
#define OUTBOARD_SUPERVISOR_HEALTH_H

#include "supervisor/internal.h"

/* The connection to QMP is made. */
void health_start(struct supervisor *supervisor);
/* An event of QMP. */
void health_on_qmp(struct supervisor *supervisor, const char *event);
/* A device hangs, or hangs no more. */
void health_on_device(struct supervisor *supervisor);
/* A client has asked for a pause, or its end: neither is ours any more. */
void health_give_up(struct supervisor *supervisor);

#endif
