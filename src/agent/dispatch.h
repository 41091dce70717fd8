// SPDX-License-Identifier: BSD-3-Clause
/* Dispatch: finds the command of a request, checks the policy, and starts it. */
#ifndef OUTBOARD_AGENT_DISPATCH_H
#define OUTBOARD_AGENT_DISPATCH_H

#include "agent/call.h"

struct agent;

/* Carries out a request, whose call answers now or later. */
void dispatch(struct agent *agent, struct call *call);

#endif
