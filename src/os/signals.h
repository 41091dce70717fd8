// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_OS_SIGNALS_H
#define OUTBOARD_OS_SIGNALS_H

/* Blocks the signals that end a program, SIGTERM and SIGINT, and makes a descriptor of them.
 * Returns the descriptor or a negative errno. */
int signals_new(void);
/* Takes the next signal off the descriptor: its number, or -EAGAIN. */
int signals_take(int fd);

#endif
