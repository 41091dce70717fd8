// SPDX-License-Identifier: BSD-3-Clause
/* Where this installation keeps its programs. */
#ifndef OUTBOARD_SUPERVISOR_PROGRAM_PATH_H
#define OUTBOARD_SUPERVISOR_PROGRAM_PATH_H

#include <stddef.h>

/* Looks beside this program, in ../libexec/outboard and ../libexec, and then on PATH, for
 * "outboard-NAME" and for NAME itself. A name with a slash is a path already. 0 or -ENOENT. */
int program_path_find(const char *name, char *path, size_t size);

#endif
