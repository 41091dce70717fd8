// SPDX-License-Identifier: BSD-3-Clause
/* The rights that the process of an agent gives up. */
#ifndef OUTBOARD_PROGRAMS_AGENT_CONFINE_H
#define OUTBOARD_PROGRAMS_AGENT_CONFINE_H

#include <outboard/fault.h>

#include "agent/agent.h"
#include "sandbox/confine.h"

/* hook: of freezes; NULL: none. The caller has one thread. 0, or a negative errno with the fault filled:
 * the kernel refuses a part that `how` requires. */
int agent_confine(enum confine_how how, const struct agent_policy *policy, const char *hook,
                  struct ob_fault *fault);

#endif
