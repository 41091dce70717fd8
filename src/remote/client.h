// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client object behind include/outboard/client.h: where a client engine meets a socket, the
 * clock and eventfds.
 *
 * A call first takes whatever the remote has said meanwhile (late answers, heartbeats, requests for
 * guest memory, things it must not say), then sends, then waits for its own answer until a
 * deadline. One that is not answered in time makes the remote hung: the call stays open in the
 * engine, which will know its answer as late, and further calls fail at once until no call is open
 * any more. The heartbeat makes a call too, but never waits: the next beat, or a call, finds its
 * answer. A message that the remote does not even take in time can't be undone, so that ends the
 * connection, unless it has not been begun yet.
 *
 *          answered late
 *        .---------------.
 *        v               |
 *      ALIVE --------> HUNG
 *        |  no answer    |        lost: end of the stream, a breach of the wire's rules,
 *        |               |              a message not taken, the policy
 *        '---> LOST <----'
 *
 * The differences between wires, above their engines, are in a struct remote_wire: mpqemu.c and
 * vfio_user.c.
 */
#ifndef OUTBOARD_REMOTE_CLIENT_H
#define OUTBOARD_REMOTE_CLIENT_H

#include <outboard/client.h>
#include <outboard/client_memory.h>

#include "client/engine.h"
#include "client/vfio_user_info.h"
#include "memory/memory.h"
#include "os/loop.h"

struct remote_wire {
    const struct client_wire *engine;
    /* Makes the wire's state of a remote, and lets go of memory and descriptors of the remote once it is lost.
     * NULL: nothing. start() returns 0 or -ENOMEM; lost() may be called more than once. */
    int (*start)(struct ob_client *client);
    void (*lost)(struct ob_client *client);
    /* Makes the remote's acquaintance before the first call; NULL: there is nothing to say. A
     * failure has lost the remote. */
    int (*greet)(struct ob_client *client);
    /* As ob_client_publish_memory(), with regions that are merged and fit. */
    int (*publish_memory)(struct ob_client *client, const struct ob_client_region *regions,
                          unsigned count, struct ob_fault *fault);
    /* 0, INTX_UNMASK_BY_MESSAGE, or the errno of a call. */
    int (*set_intx)(struct ob_client *client, int trigger_fd, int resample_fd);
    /* Ends the masking of INTx without waiting, as client_send_now(). NULL: never called. */
    int (*unmask_intx)(struct ob_client *client);
    /* Writes a register without waiting for the answer. NULL: the wire has no such writes. */
    int (*post_write)(struct ob_client *client, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value);
    /* As ob_client_probe(); fills bar_lens. */
    int (*probe)(struct ob_client *client, struct ob_client_info *ret_info, struct ob_fault *fault);
};

/* Of remote_wire.set_intx(): the remote knows no resample eventfd, so somebody has to watch it in
 * its place and tell it by messages. */
#define INTX_UNMASK_BY_MESSAGE 1

/* Events of call.c, which knows no file above it. */
struct client_events {
    /* Nothing is unanswered and nothing waits to be sent. */
    void (*settled)(struct ob_client *client);
    /* The remote is lost: its descriptors are to be let go. Not called twice. */
    void (*lost)(struct ob_client *client);
};

/* INTx as KVM's irqfd does it, for VMMs without KVM and for remotes that know no resample
 * eventfd. */
struct intx {
    int trigger_fd; /* -1: not emulated */
    int resample_fd;
    struct loop_source *source;
    bool raised;   /* and not ended by the guest yet */
    int unmask_fd; /* watched for the remote; -1: it watches the resample eventfd itself */
    struct loop_source *unmask_source;
    bool unmask_due; /* the remote is to be told so as soon as it takes messages */
};

/* Memory that ob_client_publish_memory() has mapped. */
struct published {
    struct ob_client_region region;
    uint64_t device; /* of the file */
    uint64_t inode;
};

/* The state of a vfio-user remote. */
struct vfio_user_remote {
    struct client_device device;
    struct client_region regions[OB_CLIENT_REGION_CONFIG + 1];
    int region_fds[OB_CLIENT_REGION_CONFIG + 1]; /* -1: none */
    uint32_t vectors[OB_CLIENT_IRQ_KINDS];
    struct memory memory; /* all that is mapped */
    struct published published[LIMIT_CLIENT_REGIONS];
    unsigned num_published;
};

struct ob_client {
    const struct remote_wire *wire;
    const struct client_events *events;
    struct client engine;
    struct client_host host;
    struct ob_client_options options;
    enum ob_client_state state;
    struct ob_fault fault;
    int refusal;
    int fd; /* -1 when lost */
    struct loop *loop;
    struct loop_source *socket;
    uint32_t watched;   /* events of the socket that the loop waits for */
    bool awaits_answer; /* nobody waits for it, so the loop does */
    bool moved;         /* bytes, either way, since the last beat */
    int timer_fd;       /* of the heartbeat; -1: none */
    struct loop_source *timer;
    bool greeted;
    bool probed;
    uint64_t bar_lens[OB_BAR_COUNT]; /* bytes that can be accessed */
    struct intx intx;
    struct vfio_user_remote *remote; /* NULL: another wire */
};

/* Makes a request and waits for its answer, if it has one. 0, -ETIMEDOUT, -ENOTCONN, -EREMOTEIO
 * (with `refusal` set), -EINVAL, or an errno of the greeting; *ret_value only with 0. */
int client_call(struct ob_client *client, const struct client_request *request,
                uint64_t *ret_value);

/* Makes a request that carries no descriptors, and waits for nothing: bytes that the kernel does not take
 * now go later, an answer is taken when it comes. The remote must have been greeted. 0; -EAGAIN
 * when something else must be sent first; -ENOTCONN; or -EBUSY. */
int client_send_now(struct ob_client *client, const struct client_request *request);

/* Whether a call that is answered can be made now; greets the remote before the first. 0,
 * -ENOTCONN, -ETIMEDOUT, or an errno of the greeting. */
int client_prepare(struct ob_client *client);

/* Takes the remote's messages and sends the answers to its requests, without waiting. */
void client_catch_up(struct ob_client *client);
/* The remote has not answered in time: follows the policy. */
void client_take_for_hung(struct ob_client *client);
/* The remote is lost, for the reason given. */
void client_lose(struct ob_client *client, int code, const char *reason);

/* Starts the heartbeat, if there is to be one. 0 or a negative errno. */
int heartbeat_start(struct ob_client *client);
void heartbeat_stop(struct ob_client *client);

/* Takes the eventfds away; the remote may still hold them. */
void intx_done(struct ob_client *client);
/* Does the work that is due; never waits. */
void intx_catch_up(struct ob_client *client);

extern const struct remote_wire remote_mpqemu;
extern const struct remote_wire remote_mpqemu_v8;
extern const struct remote_wire remote_vfio_user;

#endif
