// SPDX-License-Identifier: BSD-3-Clause
/*
 * Outsider: a process outside a cell, which connects, listens or starts programs for the process
 * inside. It keeps the rights of its user that its work needs, and gives up the others.
 *
 * Programs that a process starts lack all that it gave up. So an outsider that starts programs
 * for its user keeps privileges by exec, paths and system calls.
 *
 * The first error does not end it: the parts that the kernel has are applied.
 */
#ifndef OUTBOARD_SANDBOX_OUTSIDER_H
#define OUTBOARD_SANDBOX_OUTSIDER_H

#include <stdbool.h>

struct outsider_plan {
    bool starts_programs; /* of its user's choice: they need all that the user may do */
    bool execs_helpers;   /* programs of the system, such as shutdown(8) */
    bool writes_files;    /* anywhere */
    bool makes_sockets;   /* in folders, and removes them */
    bool removes_files;   /* in folders */
    bool reads_files;     /* of the system, for names of hosts */
    bool loads_libraries; /* of name services */
    bool looks_at_itself; /* in /proc, which needs that its user may inspect it */
    bool listens;         /* at TCP ports */
    bool dials;           /* TCP and abstract sockets; sockets in folders are open to all */
    bool dials_abstract;  /* one alone */
    bool reads_nothing;   /* no byte of anybody: calls need no filter, which takes time to make */
    const char *device;   /* a character device, which it opens; NULL: none */
};

/* 0 or the first negative errno. The caller has one thread. */
int outsider_confine(const struct outsider_plan *plan);

#endif
