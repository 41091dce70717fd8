// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client engine: the VMM's side of a wire, without any I/O.
 *
 * The owner asks for something (client_request()), sends what is pending with its descriptors
 * (client_pending(), client_sent()) and hands in what the remote says (client_received()). This
 * file's half, engine.c, keeps the calls that are not answered yet; the half that knows the wire is
 * a struct client_wire.
 *
 * Which answer belongs to which call. Calls are numbered as they are made and stay in `calls` until
 * they are answered, whether anybody still waits or not. A wire whose answers name no call, as
 * mpqemu, answers in order: an answer is for the oldest call. One that comes after its caller gave
 * up is therefore taken as what it is, and never for the answer to a later call. An answer to
 * nothing is a breach of the rules, as is everything else that the wire does not provide for; after
 * a breach the engine takes nothing more.
 */
#ifndef OUTBOARD_CLIENT_ENGINE_H
#define OUTBOARD_CLIENT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>
#include <outboard/fault.h>

#include "base/limits.h"

struct client;

enum client_operation {
    CLIENT_PUBLISH_MEMORY,
    CLIENT_SET_INTX,
    CLIENT_CONFIG_READ,
    CLIENT_CONFIG_WRITE,
    CLIENT_BAR_READ,
    CLIENT_BAR_WRITE,
    CLIENT_RESET,
    CLIENT_PING,
};

/* What to ask of the remote. Which fields count follows from the operation. */
struct client_request {
    enum client_operation operation;
    unsigned bar;
    uint64_t offset; /* into configuration space or the BAR */
    unsigned size;
    uint64_t value;
    const struct ob_client_region *regions; /* at most LIMIT_MPQEMU_REGIONS */
    unsigned num_regions;
    int trigger_fd;
    int resample_fd;
};

/* Whether the remote answers it: what it is told of memory and interrupts it just takes. */
bool client_is_answered(enum client_operation operation);

struct client_call {
    enum client_operation operation;
    uint64_t serial;
};

struct client_wire {
    const char *name;  /* as in ob_client_options.wire */
    size_t header_len; /* bytes that frame_len() needs */

    /* Puts the frames of a request, with client_put(). 0, or -EINVAL when it can't be said. */
    int (*request)(struct client *client, const struct client_request *request);
    /* Checks a header and tells the length of the whole frame, header included, at most
     * LIMIT_REPLY_BYTES; or -EPROTO with the fault filled. There is at least one call. */
    int (*frame_len)(struct client *client, const uint8_t *header);
    /* Takes one whole frame. 0, or -EPROTO with the fault filled. */
    int (*take)(struct client *client, const uint8_t *frame, size_t len);
};

struct client {
    const struct client_wire *wire;
    struct ob_fault fault; /* the breach, if there was one */
    bool opened;           /* the first message has been put */
    struct ob_client_bar bars[OB_BAR_COUNT];
    uint32_t bar_registers[OB_BAR_COUNT]; /* as the guest wrote them */
    struct client_call calls[LIMIT_CLIENT_CALLS];
    unsigned num_calls;
    uint64_t last_serial;     /* of the last call made; 0: none yet */
    uint64_t answered_serial; /* of the last call answered */
    uint64_t answer;
    uint8_t rx[LIMIT_REPLY_BYTES];
    size_t rx_len;
    uint8_t tx[LIMIT_REQUEST_BYTES];
    size_t tx_len;
    size_t tx_sent;
    int tx_fds[LIMIT_MPQEMU_FDS];
    unsigned num_tx_fds;
};

void client_init(struct client *client, const struct client_wire *wire);

/* Makes a request; everything pending must have been sent before. *ret_serial is the call's number,
 * or 0 when the remote does not answer this. Descriptors are borrowed until they are sent. 0,
 * -EINVAL, -EBUSY when too many calls are unanswered, -EPROTO after a breach. */
int client_request(struct client *client, const struct client_request *request,
                   uint64_t *ret_serial);

/* What to send next, and which descriptors ride on its first byte. */
const uint8_t *client_pending(const struct client *client, size_t *ret_len, const int **ret_fds,
                              unsigned *ret_num_fds);
void client_sent(struct client *client, size_t len);

/* Where to receive next, and how much. */
uint8_t *client_receive_space(struct client *client, size_t *ret_len);
/* Says that len bytes were received there, with so many descriptors (which stay the caller's; the
 * wires so far send none). 0, or -EPROTO with the fault filled. */
int client_received(struct client *client, size_t len, unsigned num_fds);

/* Whether a call has been answered; *ret_value is the answer if it was the last one answered. */
bool client_answered(const struct client *client, uint64_t serial, uint64_t *ret_value);

/* For wires: appends a frame's bytes; room for len bytes. */
uint8_t *client_put(struct client *client, size_t len);
/* For wires: lets a descriptor ride on what is pending. */
void client_put_fd(struct client *client, int fd);
/* For wires: notes a call that will be answered. */
void client_expect(struct client *client, enum client_operation operation);
/* For wires: the oldest call has been answered. */
void client_answer(struct client *client, uint64_t value);

extern const struct client_wire client_mpqemu;
extern const struct client_wire client_mpqemu_v8;

#endif
