// SPDX-License-Identifier: BSD-3-Clause
/* Which commands of the agent may be carried out: the same rules at both ends of a channel. */
#ifndef OUTBOARD_WIRE_AGENT_POLICY_H
#define OUTBOARD_WIRE_AGENT_POLICY_H

#include <outboard/fault.h>
#include <stdbool.h>

/* Names of commands, separated by commas. */
struct agent_policy {
    const char *allow; /* only these; NULL: all */
    const char *block; /* not these; NULL: none */
    bool read_only;    /* none that changes the guest */
};

/* Whether a command changes the guest. One that is not known does. */
bool agent_command_changes(const char *name);

/* Whether the agent, or qemu-ga, has a command of this name. */
bool agent_command_is_known(const char *name);

/* Whether all names of a list are commands; else the fault says which is not. */
bool agent_policy_check_list(const char *list, struct ob_fault *fault);

/* Whether there is a rule. */
bool agent_policy_is_set(const struct agent_policy *policy);

/* Why the policy forbids a command; NULL: it does not. */
const char *agent_policy_refusal(const struct agent_policy *policy, const char *name);

#endif
