// SPDX-License-Identifier: BSD-3-Clause
/* The parts of cell_leave(), in this order. Each does as much as the kernel
 * allows, and returns 0 or the kernel's negative errno. */
#ifndef OUTBOARD_SANDBOX_STAGES_H
#define OUTBOARD_SANDBOX_STAGES_H

#include <stdbool.h>
#include <stdint.h>
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

/* Rights to files, as Landlock numbers them. To read files and list folders; to remove files; to make
 * and remove sockets; to open a device and to use its ioctl(2). */
#define LANDLOCK_READ         (UINT64_C(1) << 2 | UINT64_C(1) << 3)
#define LANDLOCK_REMOVE       (UINT64_C(1) << 5)
#define LANDLOCK_MAKE_SOCKETS (LANDLOCK_REMOVE | UINT64_C(1) << 9)
#define LANDLOCK_OPEN_DEVICE  (LANDLOCK_READ | UINT64_C(1) << 1 | UINT64_C(1) << 15)

struct landlock_grant {
    const char
        *path; /* the rights count for it and all beneath it; without effect if it is not there */
    uint64_t rights;
};

/* The rest of the rights that Landlock takes. */
struct landlock_rules {
    const struct landlock_grant *grants;
    unsigned count;
    bool has_ports;     /* of TCP, to connect to */
    bool has_own_ports; /* to listen at */
    bool has_abstract;  /* sockets of others */
};

/* Returns the version of the kernel's Landlock, 1 or more. -EOPNOTSUPP or -ENOSYS: the kernel has no
 * Landlock, or it is off. */
int stage_landlock(void);
/* Likewise. */
int stage_landlock_with(const struct landlock_rules *rules);

/* The deeds that later versions of Landlock also refuse, with their kernels. NULL: none. */
const char *stage_landlock_gaps(int version);

#endif
