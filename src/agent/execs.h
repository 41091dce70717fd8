// SPDX-License-Identifier: BSD-3-Clause
/* Execs: the programs that guest-exec has started. */
#ifndef OUTBOARD_AGENT_EXECS_H
#define OUTBOARD_AGENT_EXECS_H

#include "agent/agent.h"

struct execs;

int execs_new(const struct agent_config *config, struct execs **ret_execs);
/* The programs live on. NULL is fine. */
void execs_free(struct execs *execs);

#endif
