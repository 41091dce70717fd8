// SPDX-License-Identifier: BSD-3-Clause
/* The mounts of this process, as the kernel lists them. */
#ifndef OUTBOARD_AGENT_MOUNTS_H
#define OUTBOARD_AGENT_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>

struct mount {
    unsigned major, minor;
    char *place;  /* where it is mounted */
    char *type;   /* of the file system */
    char *source; /* a device, or a name */
};

struct mounts {
    struct mount *mount; /* the oldest first */
    size_t count;
};

/* Those on block devices. 0 or a negative errno. */
int mounts_read(struct mounts *ret_mounts);
void mounts_done(struct mounts *mounts);

#endif
