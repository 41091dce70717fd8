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

/* The first connections have large buffers, the many others small ones: 4,096 hold 124 MiB. */
#define VSOCK_LARGE_BUFFERS 256u
#define VSOCK_LARGE_BUFFER  (256u << 10)
#define VSOCK_SMALL_BUFFER  (16u << 10)

/* Why a connection is looked at, or-ed. */
enum succession_mark {
    SUCCESSION_DIRTY = 1, /* its record in the vault is an old one */
    SUCCESSION_WORK = 2,  /* behind the next commit it has something to do at its socket */
};

/* Numbers of descriptors in the vault: the memory, then one for each connection that has room there. */
#define SUCCESSION_MEMORY             0u
#define SUCCESSION_SOCKET(connection) ((connection) + 1)

/* Numbers of connections. */
struct succession_list {
    uint32_t *numbers;
    uint32_t count;
};

/* Connections that outlive the process; succession.c. */
struct succession {
    struct lasting *lasting; /* NULL without a vault; all others are empty then */
    struct kept *kept;
    uint64_t generation; /* of the records */
    uint8_t *marks;      /* enum succession_mark, of each connection */
    struct succession_list dirty, work, now;
    int *useless; /* descriptors of the process before, to be closed behind the next commit */
    uint32_t num_useless;
    bool is_kept; /* the vault has our memory */
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
    return vsock->num_resets > 0 || vsock->table.queued > 0;
}

/* The timer: time limits, and ends of sockets that no event tells. */
void vsock_on_tick(void *argument);

/* Finds out which connections the guest still knows. */
void vsock_ask_all(struct vsock *vsock);

/* succession.c. 0 or a negative errno. */
int succession_init(struct vsock *vsock, struct lasting *lasting);
void succession_done(struct vsock *vsock);
/* marks: enum succession_mark, or-ed. Without a vault nothing happens. */
void succession_mark(struct vsock *vsock, const struct connection *connection, unsigned marks);
/* The connection's socket outlives the process, if it can. After vsock_begin(), before a byte. */
void succession_keep(struct vsock *vsock, struct connection *connection, int fd);
/* Commits changes, and then does the work that waits for that. Whether there was something to do. */
bool succession_work(struct vsock *vsock);

/* Asks for the host's socket of a connection. 0 or a negative errno. */
int vsock_dial(struct vsock *vsock, struct connection *connection, struct connection_peer peer,
               uint16_t type);

/* All connections are gone. */
void vsock_end_all(struct vsock *vsock);

#endif
