// SPDX-License-Identifier: BSD-3-Clause
/* Process status: the files of one process in /proc. */
#ifndef OUTBOARD_PROGRAMS_PROCESS_STATUS_H
#define OUTBOARD_PROGRAMS_PROCESS_STATUS_H

#include <stddef.h>
#include <sys/types.h>

/* A file of /proc/PID, with its end, cut to the size. Returns its length or a negative errno. */
ssize_t process_status_read(pid_t pid, const char *name, char *text, size_t size);

/* The value of a line "KEY:\tVALUE" of a status file, cut to the size; -ENOENT if it has no such line. */
int process_status_field(const char *status, const char *key, char *value, size_t size);

/* The hard limit of a line of a limits file, such as "Max open files"; -ENOENT if it has no such line. */
int process_status_limit(const char *limits, const char *name, char *value, size_t size);

/* Whether the process has this namespace ("net") for itself, as seen from this process: 1, 0 or a
 * negative errno. */
int process_status_has_own(pid_t pid, const char *namespace);

/* How many descriptors are open, or a negative errno. */
int process_status_count_files(pid_t pid);

#endif
