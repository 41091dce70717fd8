// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connection: one stream or seqpacket connection between a port of the guest and a socket of the
 * host, or of the device of another guest.
 *
 * The guest learns of changes by packets, and there is not always a buffer of its for one. So a
 * connection notes its debts, and vsock_connection_fill() makes the next packet when the device has a
 * buffer. The debts of a device are thus bounded by its connections, however many packets a guest
 * sends.
 *
 * Bytes to the guest go from the socket into its memory, at most as many as its credit allows.
 * Bytes from the guest go into the socket. If the socket takes fewer, the rest waits in the backlog,
 * which the guest's credit bounds. So the transmit queue never waits.
 *
 * Each direction ends by itself, behind its last byte. If the guest announces an end, the socket's
 * direction ends. If a direction of the socket ends, the device announces that to the guest.
 *
 * Between two devices, each with a guest, a connection has a Unix socket of its own. Each device keeps
 * the credit of its own guest. The socket of a seqpacket connection carries fragments: a byte with
 * the flags of the packet, and its payload. So a message is not bounded by the socket's buffer, and
 * MSG_EOR arrives.
 *
 * With a vault, a stream outlives the process (port/lasting.h). Its bytes, and lines of the device, go
 * through rings; none goes straight between the socket and guest memory. The socket is closed behind the
 * commit that has forgotten it.
 *
 * Source: virtio 1.2, section 5.10.6.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_CONNECTION_H
#define OUTBOARD_DEVICES_VSOCK_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/virtio.h>

#include "backlog.h"
#include "credit.h"
#include "packet.h"
#include "port/lasting.h"

/* The longest message that a host's seqpacket socket may hand over. */
#define CONNECTION_MESSAGE_MAX 65536u

struct vsock;

enum connection_state {
    CONNECTION_FREE,
    CONNECTION_DIALLING, /* the guest has asked; the host's socket is being connected */
    CONNECTION_GREETING, /* likewise; the device of the other guest has the line, and has not answered */
    CONNECTION_ASKING, /* a host's client has asked; the guest has not answered yet */
    CONNECTION_OPEN,
    CONNECTION_DRAINING,  /* the guest has closed it, and does not know it any more: the backlog is
                            still handed to the socket */
    CONNECTION_RESETTING, /* it owes RST and nothing else */
    CONNECTION_CLOSING,   /* nobody knows it any more; the vault still has its socket */
};

/* Packets that are owed to the guest, or-ed. */
enum connection_owes {
    OWES_REQUEST = 1,
    OWES_RESPONSE = 2,
    OWES_SHUTDOWN = 4,
    OWES_CREDIT_UPDATE = 8,
    OWES_CREDIT_REQUEST = 16,
};

/* The other end, as the guest names it. */
struct connection_peer {
    uint32_t cid; /* VSOCK_CID_HOST or another guest's */
    uint32_t port;
};

/* The message of a seqpacket socket, on its way to the guest. */
struct connection_message {
    uint8_t *bytes; /* NULL: nothing */
    uint32_t len, sent;
    uint32_t flags;  /* enum packet_flag, or-ed, of its last packet */
    uint32_t before; /* bytes of earlier fragments of the same message */
};

/* The part that outlives the process. */
struct connection_kept {
    struct lasting_stream *stream; /* NULL: the connection ends with the process */
    uint32_t lines; /* bytes to the socket that are the device's own, before all others */
    bool is_shut;   /* the socket is of no use any more */
};

struct connection {
    uint32_t guest_port;
    struct connection_peer peer;
    uint16_t type;          /* enum packet_type */
    uint8_t state;          /* enum connection_state */
    uint8_t owes;           /* enum connection_owes, or-ed */
    uint8_t guest_shutdown; /* enum packet_shutdown, of the guest */
    uint8_t host_shutdown;  /* enum packet_shutdown, of the host's end */
    bool readable;          /* the socket may have bytes */
    bool blocked;           /* the socket takes no bytes at present */
    bool credit_asked;      /* a CREDIT_REQUEST was sent, and the guest has told of no room yet */
    bool announced;         /* the host's client waits for "OK" and the number of its port */
    bool queued;            /* in the table's queue */
    uint8_t watched;        /* for which events of its socket (enum ob_watch_event) */
    uint32_t next;          /* in the table: the next of the same hash */
    uint32_t call;          /* DIALLING: names the request to the host */
    struct vsock *owner;
    int fd; /* -1: none yet, or closed */
    struct credit credit;
    struct backlog backlog;
    bool in_message; /* the guest has sent a part of a message to another guest */
    struct connection_message message;
    struct connection_kept kept;
    uint64_t deadline_ns; /* 0: none */
};

/* A connection as the next process finds it. Plain data. */
struct connection_record {
    uint32_t guest_port;
    struct connection_peer peer;
    uint32_t lines;
    struct credit credit;
    uint16_t type;
    uint8_t state, owes, guest_shutdown, host_shutdown;
    uint8_t announced, has_stream, is_shut;
};

/* The consequence of a call. */
enum connection_verdict {
    CONNECTION_GOES_ON,
    CONNECTION_OVER, /* the guest knows it no more: DRAINING if vsock_connection_must_drain(), else freed */
    CONNECTION_RESET, /* the guest is to get RST, then it is over */
};

/* A new one, of a guest's REQUEST or of a host's client. buf_alloc: bytes of the backlog. */
void vsock_connection_begin(struct connection *connection, enum connection_state state,
                            uint16_t type, uint32_t guest_port, struct connection_peer peer,
                            uint32_t buf_alloc);

/* The guest is to get RST. The socket is closed, unless vsock_connection_must_drain(). */
void vsock_connection_reset(struct connection *connection);

/* Whether the guest has closed the connection in order, and the host has not yet got all bytes. */
bool vsock_connection_must_drain(const struct connection *connection);

/* Closes the socket and frees all memory. */
void vsock_connection_end(struct connection *connection);

/* Its stream outlives the process. To be ended, it becomes CLOSING first. */
void vsock_connection_retire(struct connection *connection);

void vsock_connection_record(const struct connection *connection,
                             struct connection_record *ret_record);

/* Of one that has just begun: takes the record of another process over. fd: its socket (taken), or -1; then
 * it is to be reset, unless the host's socket was still being connected. Whether the record can be one. */
bool vsock_connection_restore(struct connection *connection, const struct connection_record *record,
                              int fd, struct lasting_stream *stream);

/* DIALLING: the socket is there (takes it). If it is the host's, the guest gets its RESPONSE. The
 * device of another guest gets the line with the ports, and is to answer. */
enum connection_verdict vsock_connection_dialled(struct connection *connection, int fd);

/* GREETING: the socket has the answer, or its end. */
enum connection_verdict vsock_connection_hear(struct connection *connection);

/* ASKING: the socket of the host's client (takes it). announce: it is to read the port's number. */
void vsock_connection_attach(struct connection *connection, int fd, bool announce);

/* A packet of the guest that belongs to this connection; payload follows the header in the chain. */
enum connection_verdict vsock_connection_receive(struct connection *connection,
                                                 const struct packet *packet,
                                                 const struct ob_virtio_chain *chain);

/* Asks the guest for an answer: one that knows the connection no more sends RST. */
void vsock_connection_ask(struct connection *connection);

/* Whether vsock_connection_fill() would make a packet, as far as is known. */
bool vsock_connection_has_packet(const struct connection *connection);

/* Makes the next packet for the guest, in the writable part of the chain, which has room for a
 * header at least. *ret_written: bytes; 0: there is no packet after all. */
enum connection_verdict vsock_connection_fill(struct connection *connection, uint64_t guest_cid,
                                              struct ob_virtio_chain *chain, size_t *ret_written);

/* The socket takes bytes again. */
enum connection_verdict vsock_connection_flush(struct connection *connection);

/* Whether the host has closed both directions of a socket of which only one is known to be closed.
 * Nobody tells: to be asked now and then. */
void vsock_connection_look_for_hangup(struct connection *connection);

/* Whether the socket is to be watched for bytes. */
static inline bool vsock_connection_wants_read(const struct connection *connection)
{
    if (connection->state == CONNECTION_GREETING)
        return true;
    return connection->state == CONNECTION_OPEN && !connection->readable &&
           !(connection->host_shutdown & PACKET_NO_SEND) &&
           !(connection->guest_shutdown & PACKET_NO_RECEIVE);
}

#endif
