// SPDX-License-Identifier: BSD-3-Clause
/* The cell of a device program (sandbox/confine.h), as its options and its author want it. */
#ifndef OUTBOARD_PROGRAM_PROGRAM_CELL_H
#define OUTBOARD_PROGRAM_PROGRAM_CELL_H

#include "program/options.h"
#include "sandbox/confine.h"

/* Reads the policies. Options have been applied; arguments stay the caller's. 0 or a negative
 * errno with the fault filled. notify_fd: the launcher's, -1: none. */
int program_cell_prepare(struct confinement *cell, const struct ob_program *author, void *config,
                         const struct options *options, int notify_fd, struct ob_fault *fault);

/* confine_leave(), and the lines that the cell can do without conditions if no address leads out of it. */
int program_cell_leave(struct confinement *cell, const struct ob_program *author,
                       struct ob_fault *fault);

#endif
