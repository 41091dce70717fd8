// SPDX-License-Identifier: BSD-3-Clause
/*
 * Descriptors that came with bytes, on their way to the message they belong to.
 *
 * The kernel ends a receive behind the bytes that carried descriptors, so these belong to the last
 * frame begun by then. An engine therefore keeps two lists: descriptors that have `arrived` with the bytes that
 * are last in its buffer, and those `waiting` for the frame that is first there.
 */
#ifndef OUTBOARD_BASE_FD_LIST_H
#define OUTBOARD_BASE_FD_LIST_H

#include <string.h>

#include "base/limits.h"

struct fd_list {
    int fd[LIMIT_FDS_PER_RECEIVE]; /* -1: somebody has taken it */
    unsigned count;
};

/* Moves descriptors from one list to the other; those that do not fit stay. */
static inline void fd_list_move(struct fd_list *from, struct fd_list *to)
{
    unsigned moved = 0;
    if (from->count == 0) /* as for nearly every message */
        return;
    while (moved < from->count && to->count < LIMIT_FDS_PER_RECEIVE)
        to->fd[to->count++] = from->fd[moved++];
    memmove(from->fd, from->fd + moved, (from->count - moved) * sizeof(from->fd[0]));
    from->count -= moved;
}

#endif
