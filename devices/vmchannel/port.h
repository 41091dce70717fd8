// SPDX-License-Identifier: BSD-3-Clause
/*
 * Port: one named stream of a guest, between two queues of the virtio console and a host end.
 *
 * A stock driver can't tell "closed and opened again" from "nothing happened". An open descriptor of
 * the guest then serves the next host peer too, and reads the last one's bytes first. So a session
 * of a peer and a descriptor has an end that both see before another session begins:
 *
 *   the host end goes    its bytes are delivered, then PORT_OPEN 0: the guest reads to EOF
 *   the guest end goes   its bytes are delivered, then the peer reads EOF
 *
 * and a descriptor of the guest that has had a session gets no second one (enum port_mode).
 */
#ifndef VMCHANNEL_PORT_H
#define VMCHANNEL_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/virtio.h>

#include "port/agent_front.h"
#include "port/end.h"

#define PORT_NEVER UINT64_MAX

/* If the next peer comes while the guest has not closed its descriptor. */
enum port_mode {
    PORT_REPLUG,    /* the port is removed and added again under its name */
    PORT_HANDSHAKE, /* the peer waits until the guest has closed it */
    PORT_LEGACY,    /* as QEMU has it: the session continues with the next peer */
    PORT_AGENT,     /* the port is a qemu-ga's, with any number of clients */
    PORT_CONSOLE,   /* a terminal line, which never ends */
};

enum port_state {
    PORT_IDLE,     /* no peer */
    PORT_HELD,     /* the peer waits: the guest's descriptor has had a session */
    PORT_REMOVED,  /* likewise, and the port was removed */
    PORT_OFFERED,  /* the guest was told PORT_OPEN 1 and has not opened the port */
    PORT_ON,       /* a session */
    PORT_ENDING,   /* the peer has ended its direction, all of which was delivered */
    PORT_DRAINING, /* the guest has closed the port; the peer reads the rest */
};

/* Control messages that wait for a buffer of the driver: bits, sent from the lowest. Messages of a
 * port are states and not events, so there is no queue that could overflow. */
enum port_message {
    PORT_SEND_REMOVE = 1u << 0,
    PORT_SEND_ADD = 1u << 1,
    PORT_SEND_CONSOLE = 1u << 2,
    PORT_SEND_RESIZE = 1u << 3,
    PORT_SEND_NAME = 1u << 4,
    PORT_SEND_OPEN = 1u << 5,
};

/* Buffers of a queue that were taken from it. */
struct port_chains {
    struct ob_virtio_chain *first, *last; /* by context */
    unsigned count;
};

/* The device's part for a port. */
struct port_events {
    /* There is a message to send, or work for port_turn(). */
    void (*wake)(void *device, unsigned id);
    /* Something that a person may want to know: "open", "close", "replug", "dropped". */
    void (*tell)(void *device, unsigned id, const char *event, const char *end, uint64_t number);
};

/* The guest's side of the port. */
struct port_guest {
    bool plugged; /* ADD was sent, or is to be */
    bool ready;   /* the driver has set it up */
    bool open;
    bool used;  /* its descriptor has had a session that the host ended */
    bool stale; /* output may be that of a life before */
};

struct port_input {
    struct port_chains free;
    unsigned full; /* the number that is free if the guest has read everything */
    uint64_t bytes;
};

struct port_output {
    struct port_chains chains;
    unsigned round, taken; /* in which round this number was taken */
    size_t at;             /* in the first of them */
    uint8_t *rest;         /* of a guest that has gone */
    size_t rest_at, rest_len;
    bool broken; /* the peer reads no more */
    uint64_t bytes, dropped;
};

struct port {
    unsigned id;
    const char *name;
    enum port_mode mode;
    struct port_end *end;
    struct agent_front *agent; /* PORT_AGENT */
    struct ob_device *virtio;
    const struct port_events *events;
    void *device;
    const unsigned *round; /* of the device's polls */
    enum port_state state;
    bool host_open;   /* told to the guest */
    unsigned to_send; /* enum port_message */
    struct port_guest guest;
    struct port_input input;
    struct port_output output;
    uint64_t due_ns;  /* when port_turn() is to be called; PORT_NEVER */
    unsigned unread;  /* input buffers that the guest had not read at the last look */
    uint64_t read_ns; /* when it has read for the last time, or the session ended */
    unsigned replugs;
    bool replug_again; /* once more, if nobody opens it */
    bool handed_over;  /* with its session: nothing of it moves any more */
};

/* Queues of a port. */
static inline unsigned port_input_queue(unsigned id)
{
    return id == 0 ? 0 : 2 + 2 * id;
}

static inline unsigned port_output_queue(unsigned id)
{
    return port_input_queue(id) + 1;
}

/* Fields id, name, mode, end, agent, virtio, events, device and round are the caller's to fill before. */
void port_init(struct port *port);
void port_done(struct port *port);

/* Messages of the driver. */
void port_plug(struct port *port);
void port_set_ready(struct port *port, bool ready);
/* False: this port has had its share of buffers in this round, so its queue may still have some of
 * the old session. The caller tries again in the next round. */
bool port_set_open(struct port *port, bool open);
/* Gives the chains of a queue back. stays: the driver uses them again later. */
void port_let_go(struct port *port, bool is_input, bool stays);
/* The driver has gone. */
void port_guest_gone(struct port *port);

/* A port as it outlives its process. The session does if it was handed over. Otherwise the peer's end is
 * closed, and a descriptor of the guest that is open has had its session. */
struct port_kept {
    /* Of these, 0 or 1. */
    uint8_t plugged, ready, open, removed, host_open;
    uint8_t handed_over, used, stale, broken, replug_again;
    uint8_t to_send, state;
    uint32_t full;     /* input buffers that are free if the guest has read everything */
    uint32_t at;       /* in the first chain of output */
    uint32_t rest_len; /* bytes that lie in no chain any more */
};
/* Whether the session can be handed over. */
bool port_can_be_handed_over(const struct port *port);
/* Without a session. */
void port_keep(const struct port *port, struct port_kept *ret_kept);
/* False: no process writes that. */
bool port_take_kept(struct port *port, const struct port_kept *kept, uint64_t now_ns);
/* Takes the session too, with its peer. rest: the bytes that lie in no chain; the callee's. */
void port_take_session(struct port *port, const struct port_kept *kept, uint8_t *rest,
                       uint64_t now_ns);
/* All is in place again. */
void port_resumed(struct port *port);

/* Writes what is left of a guest that has gone, also while there is no VMM. */
void port_drain(struct port *port);
/* Does the work that is possible now. Returns true if there is more. */
bool port_turn(struct port *port, uint64_t now_ns);

/* The next message, one bit of enum port_message, or 0. */
unsigned port_next_message(const struct port *port);
/* It was given to the driver. */
void port_message_sent(struct port *port, unsigned message, uint64_t now_ns);

const char *port_mode_name(enum port_mode mode);
const char *port_state_name(const struct port *port);

#endif
