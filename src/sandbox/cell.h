// SPDX-License-Identifier: BSD-3-Clause
/*
 * Cell: the rights that a process gives up once it has all that it needs.
 *
 * Open. The caller is single-threaded, has opened its files and sockets, and has read no byte of a
 * peer. It may do all that its user may.
 *
 * Leave: the environment is forgotten (environment.h). cell_leave(): root takes an own user id. The process gets namespaces of its own (user,
 * mount, network, IPC, host name, cgroup) and an empty read-only root; then it gives up
 * capabilities, memory beyond a bound, core files, inspection by others, new privileges by exec
 * and, by Landlock, all paths, TCP ports, abstract sockets and signals to others. Open descriptors
 * still work. It may still make threads, which inherit all of this. The order is forced: the
 * kernel refuses a user namespace to a process with a second thread, mounts need the capabilities
 * that this namespace gives, and Landlock forbids mounts.
 *
 * Close: cell_close(), when the threads are there. A system call that has no line in the policy
 * (policy.h) is named on standard error and ends the process.
 *
 * Settle: cell_settle(), when the device has been made. Lines with `create` end: the process makes no
 * thread, no memory for others, and no copy of a descriptor any more.
 *
 * There is no process namespace: without a fork it breaks threads and flushes of io_uring. Other
 * processes stay visible to kill(2), which the policy and Landlock refuse.
 *
 * A kernel or a container may refuse a part. Each part is reported with its errno.
 */
#ifndef OUTBOARD_SANDBOX_CELL_H
#define OUTBOARD_SANDBOX_CELL_H

#include <stdbool.h>
#include <sys/types.h>

#include "sandbox/policy.h"

enum cell_part {
    CELL_USER,         /* root has taken an own user id */
    CELL_NAMESPACES,   /* of users, mounts, network, IPC, host name and cgroup */
    CELL_ROOT,         /* an empty root */
    CELL_CAPABILITIES, /* none, for ever */
    CELL_LIMITS,       /* of memory, processes, core files */
    CELL_INSPECTION,   /* no ptrace(2), no /proc/PID/mem by processes of the same user */
    CELL_PRIVILEGES,   /* none by exec */
    CELL_LANDLOCK,
    CELL_CALLS, /* the policy */
    CELL_PARTS,
};

struct cell_plan {
    uid_t user; /* that root becomes; 0: one that no other program has */
    /* The device reaches for paths and addresses later: no network namespace, no empty root, no
     * rules of Landlock. */
    bool reaches_out;
    unsigned long
        files; /* open descriptors, of those that the launcher allows; 0: LIMIT_CELL_FILES */
};

/* Of each part: 0 when it is applied; CELL_LEFT_OUT; or the kernel's negative errno. */
struct cell_report {
    int part[CELL_PARTS];
    const char *landlock_gaps; /* of stage_landlock_gaps() */
    int user_fd; /* keeps the own user id until the process ends (user_record.h); or -1 */
};

#define CELL_LEFT_OUT 1

void cell_leave(const struct cell_plan *plan, struct cell_report *report);

/* After cell_leave(): whether no name and no abstract name of a socket leads to one outside. Addresses
 * of other families still do, for who holds a socket of theirs. */
bool cell_is_isolated(const struct cell_report *report);

/* A refused call is told under the program's name, which is kept. The policy must outlive the
 * process. */
void cell_close(struct policy *policy, const char *program, struct cell_report *report);

/* After cell_close(), which has reported whether there is a policy at all. */
void cell_settle(struct policy *policy, struct cell_report *report);

/* The rights that the part takes away, in words. */
const char *cell_part_name(enum cell_part part);
/* Advice for a part that was refused with this errno. */
const char *cell_part_remedy(enum cell_part part, int err);
/* Why a part was left out. */
const char *cell_part_excuse(enum cell_part part);

#endif
