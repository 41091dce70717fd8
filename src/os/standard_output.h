// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_OS_STANDARD_OUTPUT_H
#define OUTBOARD_OS_STANDARD_OUTPUT_H

/* The end of a command that printed to stdout: writes the buffered bytes and closes it. Some file
 * systems tell only then that they are full. Returns `status`, or EXIT_FAILURE if a byte was lost;
 * the reason is logged, unless it is a reader that has gone (| head -1). */
int standard_output_end(int status);

#endif
