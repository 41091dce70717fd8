// SPDX-License-Identifier: BSD-3-Clause
/* The parts of cell_leave(), in this order. Each returns 0 or the kernel's negative errno, with
 * what it could do done. */
#ifndef OUTBOARD_SANDBOX_STAGES_H
#define OUTBOARD_SANDBOX_STAGES_H

#include <stdbool.h>
#include <sys/types.h>

/* Root becomes this user and has no groups. */
int stage_user(uid_t user);

/* The caller has one thread. with_network: and a network of its own, without interfaces. */
int stage_namespaces(bool with_network);

/* An empty read-only root; needs the namespaces. */
int stage_root(void);

int stage_capabilities(void);

/* LIMIT_CELL_*, with another number of open descriptors unless it is 0; no core file, no locked
 * memory. Sanitizers need all the memory that there is. The kernel counts the processes of a user:
 * `alone` says that this process is the user's only one. */
int stage_limits(bool alone, unsigned long files);

int stage_inspection(void);
int stage_privileges(void);

/* Returns the version of the kernel's Landlock, 1 or more. -EOPNOTSUPP or -ENOSYS: the kernel has no
 * Landlock, or it is off. */
int stage_landlock(void);

/* The deeds that later versions of Landlock also refuse, with their kernels. NULL: none. */
const char *stage_landlock_gaps(int version);

#endif
