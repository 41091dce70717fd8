// SPDX-License-Identifier: BSD-3-Clause
/* The cell of a subcommand that is the client of a device (remote.h). */
#ifndef OUTBOARD_PROGRAMS_REMOTE_CELL_H
#define OUTBOARD_PROGRAMS_REMOTE_CELL_H

#include "remote.h"

/* For remote_take_option(): takes --cell, --cell-policy, --user and --print-cell. */
enum remote_verdict remote_take_cell_option(struct confine_options *options, const char *word);

/* Opens the log, starts the dialer and enters the cell. 0 or a negative errno with the fault
 * filled; remote_cell_end() is due in both cases. */
int remote_cell_enter(struct remote *remote, struct ob_fault *fault);

/* Ends the thread and the dialer. */
void remote_cell_end(struct remote *remote);

#endif
