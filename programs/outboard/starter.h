// SPDX-License-Identifier: BSD-3-Clause
/*
 * Starter: the process outside the cell of `outboard agent freeze`. It starts the user's command when it
 * is asked to, passes signals on to it, and tells its end. It reads no byte of a proxy, and a request
 * carries no command: the process has that since its start. It ends with the command of outboard.
 */
#ifndef OUTBOARD_PROGRAMS_STARTER_H
#define OUTBOARD_PROGRAMS_STARTER_H

#include <stdbool.h>

struct starter {
    int fd;      /* to the process */
    int signals; /* SIGINT, SIGTERM and SIGHUP of this one, once they are blocked */
};

/* The caller has one thread and no cell yet. The command inherits its descriptors and signals. 0 or a
 * negative errno. */
int starter_start(char **command, bool is_confined, struct starter *ret_starter);

/* Runs the command to its end. Returns its exit status as a shell has it, or a negative errno: nothing
 * was started, or the process has gone. From then on signals that would end this process are blocked. */
int starter_run(const struct starter *starter);

#endif
