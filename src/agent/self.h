// SPDX-License-Identifier: BSD-3-Clause
/* The agent about itself: guest-info and guest-hello. They need the table of all commands, so they are
 * no part of it. */
#ifndef OUTBOARD_AGENT_SELF_H
#define OUTBOARD_AGENT_SELF_H

#include "agent/call.h"

struct agent;

void self_tell(const struct agent *agent, struct call *call);

#endif
