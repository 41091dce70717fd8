// SPDX-License-Identifier: BSD-3-Clause
/* The workers of a freeze (freezer.c): these run in child processes. */
#ifndef OUTBOARD_AGENT_FREEZE_WORKER_H
#define OUTBOARD_AGENT_FREEZE_WORKER_H

#include "agent/agent.h"
#include "wire/json.h"

#define FREEZE_NOTE_MAX 256

struct freeze_order {
    const struct json *places; /* the first of the mounts that are meant */
    bool is_list;              /* only those */
    unsigned timeout_s;        /* after which it thaws; 0: none */
    const char *hook;
    const char *note;
};

/* context: struct freeze_order. Says how many are frozen, then how many are thawed, or with
 * WORKER_NOTES why it thawed by itself. */
int freeze_work(int fd, const void *context);

/* Starts a worker that thaws every file system, and removes the note. */
void freeze_thaw_all(const struct agent_config *config, const char *note);

#endif
