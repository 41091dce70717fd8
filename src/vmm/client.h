// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client object behind include/outboard/client.h: where a client engine meets a socket, the
 * clock and eventfds.
 *
 * A call first takes whatever the remote has said meanwhile (late answers, heartbeats, things it
 * must not say), then sends, then waits for its own answer until a deadline. One that is not
 * answered in time makes the remote hung: the call stays open in the engine, which will know its
 * answer as late, and further calls fail at once until no call is open any more. The heartbeat
 * makes a call too, but never waits: the next beat, or a call, finds its answer. A message that the
 * remote does not even take in time can't be undone, so that ends the connection.
 *
 *          answered late
 *        .---------------.
 *        v               |
 *      ALIVE --------> HUNG
 *        |  no answer    |        lost: end of the stream, a breach of the wire's rules,
 *        |               |              a message not taken, the policy
 *        '---> LOST <----'
 */
#ifndef OUTBOARD_VMM_CLIENT_H
#define OUTBOARD_VMM_CLIENT_H

#include <outboard/client.h>

#include "client/engine.h"
#include "os/loop.h"

/* INTx as KVM's irqfd does it, for VMMs without KVM. */
struct intx {
    int trigger_fd; /* -1: not emulated */
    int resample_fd;
    struct loop_source *source;
    bool raised; /* and not ended by the guest yet */
};

struct ob_client {
    struct client engine;
    struct ob_client_options options;
    enum ob_client_state state;
    struct ob_fault fault;
    int fd; /* -1 when lost */
    struct loop *loop;
    struct loop_source *socket;
    bool watches_input; /* the loop waits for what the remote says, not for its end alone */
    int timer_fd;       /* of the heartbeat; -1: none */
    struct loop_source *timer;
    bool probed;
    struct intx intx;
};

/* Makes a request and waits for its answer, if it has one. 0, -ETIMEDOUT, -ENOTCONN or -EINVAL;
 * *ret_value only with 0. */
int client_call(struct ob_client *client, const struct client_request *request,
                uint64_t *ret_value);

/* Takes what the remote has said, without waiting. */
void client_catch_up(struct ob_client *client);
/* The remote has not answered in time: does what the policy says. */
void client_take_for_hung(struct ob_client *client);
/* The remote is lost, for the reason given. */
void client_lose(struct ob_client *client, int code, const char *reason);

/* Starts the heartbeat, if there is to be one. 0 or a negative errno. */
int heartbeat_start(struct ob_client *client);
void heartbeat_stop(struct ob_client *client);

/* Takes the eventfds away; the remote may still hold them. */
void intx_done(struct ob_client *client);

#endif
