// SPDX-License-Identifier: BSD-3-Clause
/* Freezer: freezes the file systems for a snapshot, and thaws them whatever happens. */
#ifndef OUTBOARD_AGENT_FREEZER_H
#define OUTBOARD_AGENT_FREEZER_H

#include "agent/agent.h"

struct freezer;

/* If an earlier agent has left file systems frozen, they are thawed. */
int freezer_new(const struct agent_config *config, struct freezer **ret_freezer);
/* Frozen file systems are thawed by the process that holds them. NULL is fine. */
void freezer_free(struct freezer *freezer);

bool freezer_is_frozen(const struct freezer *freezer);

#endif
