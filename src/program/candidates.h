// SPDX-License-Identifier: BSD-3-Clause
/*
 * Candidates: who has connected to the socket that a device listens at, and is not its peer.
 *
 * A connection alone is nothing: it may be a look at the socket, or dead before its turn comes. The
 * first candidate whose first message is there becomes the peer. Who comes while the device
 * has a peer is answered at once in the terms of its wire (vfio-user: VERSION is refused with
 * EBUSY; mpqemu has no such answer, so the connection is closed). So nobody waits in the queue of
 * the socket, where a VMM would hang and from where a dead connection would become the next peer.
 *
 * The cost of candidates for the peer is bounded: limits.h says how many there are at a time and, while
 * there is a peer, how long they may be silent and how many are accepted in a time. Beyond that the
 * listener rests, as it does when there are no descriptors left.
 */
#ifndef OUTBOARD_PROGRAM_CANDIDATES_H
#define OUTBOARD_PROGRAM_CANDIDATES_H

#include <stdbool.h>
#include <sys/types.h>

#include "os/loop.h"
#include "server/engine.h"

struct candidates;

/* Who has become the peer. */
struct chosen {
    int fd;
    pid_t pid;                     /* 0: not known */
    const struct engine_ops *wire; /* that it speaks */
};

/* Accepts from listen_fd, which stays the caller's, whenever the loop runs. refused() is called for
 * the first who is told that the device is busy, once a peer. 0 or a negative errno. */
int candidates_new(struct loop *loop, int listen_fd, void (*refused)(void *argument, pid_t pid),
                   void *argument, struct candidates **ret_candidates);
/* NULL is fine. */
void candidates_free(struct candidates *candidates);

/* Waits for a peer. From its choice to the next call the device counts as busy. 0; -ECANCELED when
 * *stop was set by a callback of the loop; or an errno of the loop. */
int candidates_wait(struct candidates *candidates, const bool *stop, struct chosen *ret_chosen);

#endif
