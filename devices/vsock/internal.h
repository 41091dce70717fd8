// SPDX-License-Identifier: BSD-3-Clause
/* The structure that the parts of the device share. */
#ifndef OUTBOARD_DEVICES_VSOCK_INTERNAL_H
#define OUTBOARD_DEVICES_VSOCK_INTERNAL_H

#include <outboard/timer.h>
#include <outboard/virtio.h>

#include "table.h"
#include "vsock.h"

enum vsock_queue {
    VSOCK_RX, /* to the guest */
    VSOCK_TX, /* from the guest */
    VSOCK_EVENT,
    VSOCK_QUEUES,
};

#define VSOCK_FEATURE_STREAM    (UINT64_C(1) << 0)
#define VSOCK_FEATURE_SEQPACKET (UINT64_C(1) << 1)

/* RSTs that belong to no connection and wait for a buffer of the guest. Those beyond are not sent:
 * the guest's connect(2) then ends by its own time limit. */
#define VSOCK_RESETS 256u

/* Chains, or packets, that are dealt with before others have their turn. */
#define VSOCK_BATCH 64u

/* To whom a packet without a connection came. */
struct stray {
    uint64_t cid;
    uint32_t guest_port, host_port;
    uint16_t type;
};

/* Connections that outlive the process, as the guest knows them; succession.c. */
struct succession {
    struct stray *lost; /* those of another process: the guest is to learn that they have ended */
    uint32_t num_lost;
    struct kept *kept; /* for the vault; NULL without one */
};

struct vsock {
    struct ob_device *device;
    struct vsock_options options;
    struct table table;
    struct stray resets[VSOCK_RESETS];
    uint32_t first_reset, num_resets;
    bool runs;        /* the driver has started the device */
    bool has_buffers; /* the guest may have given buffers for packets */
    bool reset_event; /* the guest is to learn that its connections are gone */
    bool ticks;       /* the timer is set */
    uint32_t last_call;
    uint32_t next_client_port;
    struct ob_timer *timer;
    struct succession succession;
};

/* Makes a connection of a free one. */
void vsock_begin(struct vsock *vsock, struct connection *connection, enum connection_state state,
                 uint16_t type, uint32_t guest_port, struct connection_peer peer);

/* Carries a verdict out; the connection may be free after it. */
void vsock_settle(struct vsock *vsock, struct connection *connection,
                  enum connection_verdict verdict);

/* A packet of the guest. */
void vsock_receive(struct vsock *vsock, const struct ob_virtio_chain *chain);

/* Gives the guest packets, a batch at most. Whether there was one. */
bool vsock_transmit(struct vsock *vsock);

/* Whether packets wait for the guest. */
static inline bool vsock_has_packets(const struct vsock *vsock)
{
    return vsock->succession.num_lost > 0 || vsock->num_resets > 0 || vsock->table.queued > 0;
}

/* The timer: time limits, and ends of sockets that no event tells. */
void vsock_on_tick(void *argument);

/* Finds out which connections the guest still knows. */
void vsock_ask_all(struct vsock *vsock);

/* succession.c. 0 or a negative errno. */
int succession_init(struct vsock *vsock);
void succession_done(struct vsock *vsock);

/* All connections are gone. */
void vsock_end_all(struct vsock *vsock);

#endif
