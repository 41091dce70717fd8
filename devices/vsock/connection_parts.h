// SPDX-License-Identifier: BSD-3-Clause
/* Shared by the parts of a connection: connection.c, connection_fill.c. */
#ifndef OUTBOARD_DEVICES_VSOCK_CONNECTION_PARTS_H
#define OUTBOARD_DEVICES_VSOCK_CONNECTION_PARTS_H

#include <sys/uio.h>

#include "connection.h"

/* Spans of a chain that one call of the kernel is given. A packet that needs more is cut, and a
 * driver's is copied. */
#define CONNECTION_SPANS 64u

static inline bool connection_has_messages(const struct connection *connection)
{
    return connection->type == PACKET_SEQPACKET;
}

/* Whether its socket carries fragments of messages, each behind a byte of flags. */
static inline bool connection_has_fragments(const struct connection *connection)
{
    return connection_has_messages(connection) && connection->peer.cid != VSOCK_CID_HOST;
}

/* Bytes of the guest that the socket has not taken. */
static inline bool connection_has_backlog(const struct connection *connection)
{
    return connection->kept.stream ? lasting_num_unsent(connection->kept.stream) > 0
                                   : !backlog_is_empty(&connection->backlog);
}

/* Bytes of the socket that the guest has not got. */
static inline bool connection_has_unread(const struct connection *connection)
{
    return connection->kept.stream && lasting_num_unread(connection->kept.stream) > 0;
}

/* From the socket into the ring. Whether there are bytes to give; if not, it may be the end. */
bool connection_receive_lasting(struct connection *connection);

/* The guest is told that the host's end does this no more: enum packet_shutdown, or-ed. */
void connection_shut_host(struct connection *connection, uint8_t directions);

/* Bytes of the guest have left for the socket, or for nowhere. */
void connection_forwarded(struct connection *connection, size_t len);

/* The host's end has no more bytes. It may be that it takes none either. */
void connection_end_of_file(struct connection *connection);

/* The host takes nothing any more. */
void connection_lose_reader(struct connection *connection);

/* The payload's pieces in guest memory, behind the header; *ret_len: bytes in them, fewer than len
 * if there are more than CONNECTION_SPANS. */
unsigned connection_payload_pieces(const struct ob_dma_span *spans, unsigned count, size_t len,
                                   struct iovec *ret_pieces, size_t *ret_len);

#endif
