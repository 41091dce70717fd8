// SPDX-License-Identifier: BSD-3-Clause
/*
 * Agent: carries out requests of a host in its guest, by the commands and the wire of qemu-ga.
 *
 * Each client has a connection, a parser and an answer of its own, so that a client never reads the
 * answer of another. A command that could wait for anything runs in a child process with a limit.
 * The agent itself, one thread on its owner's loop, never waits.
 *
 *   connection.c  bytes of a client to requests, answers to bytes
 *   dispatch.c    finds the command of a request and checks the policy
 *   worker.c      a child process that carries out commands, and its messages
 *   commands.c    the table of all commands; command_*.c are those that need no state
 *   execs.c, files.c, freezer.c   commands that outlive a request
 */
#ifndef OUTBOARD_AGENT_AGENT_H
#define OUTBOARD_AGENT_AGENT_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stdio.h>

#include "os/child.h"
#include "os/loop.h"
#include "os/timer.h"
#include "wire/agent_policy.h"

struct agent;

struct agent_config {
    struct loop *loop;
    struct timers *timers;
    struct children *children;
    struct agent_policy policy;
    const char *state_dir;   /* where a freeze is noted for a successor: a tmpfs */
    const char *freeze_hook; /* a program that is run with freeze and thaw, if it is there */
    /* Before file systems may be frozen, and once they are thawed: another process that logs has to hold
     * its lines (log_hold()). Returns when it does. NULL: no other process. */
    void (*hold_log)(void *argument, bool hold);
    void *argument;
};

/* Loop, timers, children and texts must outlive the agent. If an earlier agent left file systems
 * frozen, they are thawed. 0 or a negative errno with the fault filled. */
int agent_new(const struct agent_config *config, struct agent **ret_agent, struct ob_fault *fault);
/* Ends its children, but for one that holds file systems frozen: it thaws them. NULL is fine. */
void agent_free(struct agent *agent);

/* Serves a client at a connected socket, which it takes, whatever happens. caller: who it is, for
 * the log; copied. 0 or a negative errno. */
int agent_serve(struct agent *agent, int fd, const char *caller);

/* Returns a socket at whose other end a client is served, or a negative errno. */
int agent_connect(struct agent *agent, const char *caller);

/* A JSON array of the commands that the policy enables, to be freed; NULL: no memory. */
char *agent_capabilities(const struct agent_policy *policy);

/* Prints the names of all commands, a line each. */
void agent_print_commands(FILE *to);

#endif
