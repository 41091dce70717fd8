// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guardian: a process that shares the supervisor's table of descriptors and does nothing as long as the
 * supervisor lives, so that SIGKILL of the supervisor closes none of them. The keepers of the devices
 * therefore stay.
 *
 * When the supervisor has died, it either ends all processes of the machine, if the plan says so, or
 * listens in the machine's folder and hands the descriptors to another supervisor (adoption.h). It ends
 * when that has them, or with the VMM.
 */
#ifndef OUTBOARD_SUPERVISOR_GUARDIAN_H
#define OUTBOARD_SUPERVISOR_GUARDIAN_H

#include "supervisor/ledger.h"
#include "supervisor/plan.h"

/* In the machine's folder. */
#define GUARDIAN_SOCKET ".adopt"
/* A request for descriptors that says that no more will come. */
#define GUARDIAN_DONE (-1)

/* Starts it. Its process id or a negative errno. */
int guardian_start(const struct plan *plan, struct ledger *ledger, int ledger_fd);
/* The supervisor ends: its guardian does too. */
void guardian_end(int pid);

#endif
