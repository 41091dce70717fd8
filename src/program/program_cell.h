// SPDX-License-Identifier: BSD-3-Clause
/* The cell of a device program (sandbox/cell.h), as its options and its author want it. */
#ifndef OUTBOARD_PROGRAM_PROGRAM_CELL_H
#define OUTBOARD_PROGRAM_PROGRAM_CELL_H

#include "program/options.h"
#include "sandbox/cell.h"

struct program_cell {
    const struct ob_program *author;
    const struct options *options;
    struct cell_plan plan;
    struct policy *policy; /* NULL: no cell */
    struct cell_report report;
};

/* Reads the policy. Options have been applied; what is given stays the caller's. 0 or a negative
 * errno with the fault filled. */
int program_cell_prepare(struct program_cell *cell, const struct ob_program *author, void *config,
                         const struct options *options, struct ob_fault *fault);

/* The two stages. A part that the kernel refuses is told in a line, or is a fault with
 * --cell=required. 0 or a negative errno. */
int program_cell_leave(struct program_cell *cell, struct ob_fault *fault);
int program_cell_close(struct program_cell *cell, struct ob_fault *fault);

/* Goes through both and prints what came of them, for --print-cell. */
void program_cell_print(struct program_cell *cell);

#endif
