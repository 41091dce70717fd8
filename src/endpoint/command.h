// SPDX-License-Identifier: BSD-3-Clause
/* Command: starts the commands of exec: and pty: services, and of `outboard proxy run`. */
#ifndef OUTBOARD_ENDPOINT_COMMAND_H
#define OUTBOARD_ENDPOINT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "os/child.h"

struct outside;

struct command {
    const char *shell;   /* for /bin/sh -c, or */
    char *const *argv;   /* a program and its arguments */
    const char *service; /* becomes OUTBOARD_SERVICE in its environment; NULL: none */
    bool terminal;       /* on a pseudo terminal */
    uint16_t rows, columns;
    rlim_t open_files;         /* its soft limit of descriptors */
    const char *terminal_type; /* "TERM=..."; NULL: none */
    struct outside *outside;   /* who is to start it; NULL: this process */
};

/* Our ends of a command's standard streams, non-blocking. */
struct command_pipes {
    int in;  /* we write */
    int out; /* we read; a terminal is both, and the same */
    int err; /* we read; -1 with a terminal */
};

/* Starts it with stdin and stdout joined in one socket or terminal, and stderr ours. Returns the
 * descriptor, non-blocking, or a negative errno. */
int command_start_joined(struct children *children, const struct command *command,
                         struct child **ret_child);

/* Starts it with a pipe for each, or with a terminal for all. 0 or a negative errno. */
int command_start(struct children *children, const struct command *command,
                  struct command_pipes *ret_pipes, struct child **ret_child);

/* Arguments, each ended by a NUL, as an array that points to them and ends with NULL; NULL: no
 * memory. */
char **command_split(char *arguments, size_t len);

/* Closes the ends that are open. */
void command_pipes_close(struct command_pipes *pipes);

#endif
