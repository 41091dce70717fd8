// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors that a launcher has left open by mistake: a process in a cell could use them. */
#ifndef OUTBOARD_OS_INHERITED_H
#define OUTBOARD_OS_INHERITED_H

#include <stdbool.h>

/* Closes those above 2 that the program was started with, unless a word of the command line has the number
 * or LISTEN_FDS counts it (sd_listen_fds(3)). A number counts if it is a word, or stands behind one of
 * "=:,/" and before one of ":,;/" or the end. also: a further word, such as a variable's value; NULL: none. Descriptors that the program itself has opened stay. */
void inherited_close(int argc, char *const argv[], const char *also);

/* Whether a word has the number: for tests. */
bool inherited_is_named(const char *word, int fd);

#endif
