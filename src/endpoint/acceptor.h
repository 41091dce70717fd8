// SPDX-License-Identifier: BSD-3-Clause
/*
 * Acceptor: a listening socket in a loop. All that listens for streams is of this kind: the proxy's
 * forwards, its control socket, a channel.
 *
 * One that can't accept, mostly because there are no descriptors left, rests for a moment instead
 * of being told again and again that somebody waits, and says so once in a while.
 */
#ifndef OUTBOARD_ENDPOINT_ACCEPTOR_H
#define OUTBOARD_ENDPOINT_ACCEPTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "endpoint/address.h"
#include "os/loop.h"
#include "os/timer.h"

struct acceptor;
struct outside;

/* A connection came: the descriptor, non-blocking, is the callee's. */
typedef void (*acceptor_fn)(void *argument, int fd);

struct acceptor_config {
    struct loop *loop;
    struct timers *timers;
    mode_t mode;             /* the permissions of a path */
    const char *title;       /* of the socket, for the log; kept by the caller */
    struct outside *outside; /* who is to listen; NULL: this process */
    acceptor_fn accepted;
    void *argument;
};

/* A descriptor that listens, or a negative errno. */
int acceptor_open(const struct address *address, mode_t mode);

/* Listens. Loop and timers must outlive the acceptor. 0 or a negative errno. */
int acceptor_new(const struct address *address, const struct acceptor_config *config,
                 struct acceptor **ret_acceptor);
/* Closes it, and removes the path of a Unix socket. NULL is fine. */
void acceptor_free(struct acceptor *acceptor);

/* Where it listens, with the port that the kernel chose. */
void acceptor_address(const struct acceptor *acceptor, char ret_text[ADDRESS_TEXT_MAX]);

/* Sets a descriptor aside, with which one more connection is accepted when none is left. */
void acceptor_reserve(struct acceptor *acceptor);
/* Whether it is in use: the connection that came last, or one before, stands in its place. */
bool acceptor_reserve_is_used(const struct acceptor *acceptor);
/* Sets it aside again if a descriptor is free: to be called when a connection of this one ends. */
void acceptor_refill(struct acceptor *acceptor);

#endif
