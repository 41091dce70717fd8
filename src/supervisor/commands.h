// SPDX-License-Identifier: BSD-3-Clause
/* The commands of the control socket, docs/control.md. */
#ifndef OUTBOARD_SUPERVISOR_COMMANDS_H
#define OUTBOARD_SUPERVISOR_COMMANDS_H

struct monitor_call;

/* Carries out a call; `argument` is the supervisor. A monitor_fn. */
void commands_call(void *argument, struct monitor_call *call);

#endif
