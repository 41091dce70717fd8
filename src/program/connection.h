// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connection: one peer of a device, from its first byte to its end. Where an engine meets a socket.
 *
 * A register access costs one receive and one send. Between two of them the connection either polls
 * the socket, as the poll tuner says, or blocks in the loop; replies that the peer does not take
 * are waited for in the loop too.
 */
#ifndef OUTBOARD_PROGRAM_CONNECTION_H
#define OUTBOARD_PROGRAM_CONNECTION_H

#include <stdbool.h>

#include <outboard/fault.h>

#include "base/statistics.h"
#include "os/loop.h"
#include "program/poll_tuner.h"
#include "server/engine.h"

/* Between the orders of a launcher and the connection: that takes no message as long as `wanted`. */
struct hold {
    bool wanted;
    bool is_held; /* it takes none, and has sent all replies */
    bool served;  /* there is a connection */
};

struct connection {
    int fd;
    struct loop *loop;
    struct loop_source *source;
    struct engine *engine;
    struct statistics *statistics; /* NULL: nobody wants any */
    struct poll_tuner idle;        /* polls while the device only waits for the peer */
    struct poll_tuner waiting;     /* and while it waits for something else besides */
    struct poll_tuner *tuner;      /* the one of these two that counts now */
    const bool *stop;
    struct hold *hold; /* NULL: nobody asks for it */
    unsigned rounds;   /* of polling, ever */
    uint32_t events;   /* the events of the source */
    bool ready;        /* the loop has called for the socket */
    bool hung_up;      /* and the peer has gone */
    uint64_t
        answer_by_ns; /* messages older than this process are answered until then; 0: at any time */
};

/* Serves the peer on fd until it goes, breaks the rules or *stop is set by a callback of the loop,
 * then runs the loop until the device has let go of the peer's memory, as far as it can. While
 * hold->wanted is set, it takes no message; hold may be NULL.
 * fd stays the caller's. Returns 0 when the peer has gone or *stop was set, else a negative errno
 * with the fault filled. */
int connection_serve(int fd, struct loop *loop, struct engine *engine, unsigned poll_limit_us,
                     const bool *stop, struct hold *hold, struct ob_fault *fault);

/* The same in steps, for an owner who waits himself. The connection must stay where it is until its
 * end. */
int connection_begin(struct connection *connection, int fd, struct loop *loop,
                     struct engine *engine, struct ob_fault *fault);
/* Does the work that is due, never waits, and never polls. Returns 0, with *ret_more set when it is to be
 * called again even if the loop has nothing; -ENOTCONN when the peer has gone; or another negative
 * errno with the fault filled. */
int connection_dispatch(struct connection *connection, bool *ret_more, struct ob_fault *fault);
void connection_end(struct connection *connection);

#endif
