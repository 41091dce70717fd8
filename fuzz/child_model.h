// SPDX-License-Identifier: BSD-3-Clause
/* Child processes of the kernel model (kernel_model.h), in the place of os/child.h. What they read,
 * write and when they end is the target's affair. */
#ifndef OUTBOARD_FUZZ_CHILD_MODEL_H
#define OUTBOARD_FUZZ_CHILD_MODEL_H

#include "base/list.h"

#include "kernel_model.h"

#include "os/child.h"

struct children {
    struct list list;
    int fd; /* readable when one has ended */
    struct loop_source *source;
    unsigned count;
};

struct child {
    struct children *children;
    struct list link;
    struct end *ends[3]; /* its standard descriptors; NULL: /dev/null, or closed */
    bool resolves;       /* it looks up a name, rather than being a command */
    bool over;           /* ended, and not reaped */
    int status;
    void *actor; /* the target's */
    child_exit_fn exited;
    void *argument;
};

/* The target's: one was started, one can say no more, one is freed. */
void child_begins(struct child *child);
void child_falls_silent(struct child *child);
void child_is_gone(struct child *child);

/* It closes what it has and waits to be reaped. */
void child_ends(struct child *child, int status);
void child_close(struct child *child, int index);

#endif
