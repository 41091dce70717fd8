// SPDX-License-Identifier: BSD-3-Clause
/* Connection: its packets for the guest. */
#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection_parts.h"
#include "port/stream.h"

/* Whether bytes of the host may be sent now. */
static bool may_send(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN &&
           (connection->readable || connection->message.bytes ||
            connection_has_unread(connection)) &&
           !(connection->guest_shutdown & PACKET_NO_RECEIVE);
}

void vsock_connection_ask(struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN)
        connection->owes |= OWES_CREDIT_REQUEST;
}

/* Which of the owed packets may go now: an end of sending goes behind the message, or the bytes, on their way. */
static uint8_t owes_now(const struct connection *connection)
{
    bool waits = connection->message.bytes || connection_has_unread(connection);
    return connection->owes & (uint8_t) ~(waits ? OWES_SHUTDOWN : 0);
}

bool vsock_connection_has_packet(const struct connection *connection)
{
    if (owes_now(connection) || connection->state == CONNECTION_RESETTING)
        return true;
    return may_send(connection) &&
           (credit_room(&connection->credit) > 0 || !connection->credit_asked);
}

/* The header of a packet with this much payload. */
static size_t put_header(struct connection *connection, uint64_t guest_cid, uint16_t op,
                         uint32_t flags, uint32_t len, struct ob_virtio_chain *chain)
{
    uint8_t bytes[PACKET_HEADER_LEN];
    const struct packet packet = {.src_cid = connection->peer.cid,
                                  .dst_cid = guest_cid,
                                  .src_port = connection->peer.port,
                                  .dst_port = connection->guest_port,
                                  .len = len,
                                  .type = connection->type,
                                  .op = op,
                                  .flags = flags,
                                  .buf_alloc = connection->credit.buf_alloc,
                                  .fwd_cnt = connection->credit.fwd_cnt};
    packet_put(&packet, bytes);
    ob_virtio_write(chain, 0, bytes, sizeof(bytes));
    connection->credit.told_fwd_cnt = connection->credit.fwd_cnt;
    connection->owes &= (uint8_t)~OWES_CREDIT_UPDATE; /* every header tells it */
    return PACKET_HEADER_LEN + len;
}

/* 0: there are no bytes at present, or it was the end. */
static size_t read_in(struct connection *connection, const struct iovec *pieces, unsigned count)
{
    ssize_t got = port_stream_read(connection->fd, pieces, count);
    if (got > 0)
        return (size_t)got;
    connection->readable = false;
    if (got == 0)
        connection_end_of_file(connection);
    else if (got != -EAGAIN)
        connection_shut_host(connection,
                             PACKET_NEITHER); /* a reset, or guest memory that has gone */
    return 0;
}

/* Bytes of the ring, which stay there until the guest's buffer is committed as theirs. */
static size_t fill_lasting(struct connection *connection, uint64_t guest_cid, uint32_t room,
                           struct ob_virtio_chain *chain)
{
    struct lasting_stream *stream = connection->kept.stream;
    struct iovec pieces[2];
    size_t len = chain->writable_len - PACKET_HEADER_LEN, at = PACKET_HEADER_LEN;
    if (!connection_has_unread(connection) && !connection_receive_lasting(connection))
        return 0;
    if (len > room)
        len = room;
    if (len > lasting_num_unread(stream))
        len = lasting_num_unread(stream);
    unsigned count = lasting_unread(stream, len, pieces);
    for (unsigned i = 0; i < count; i++) {
        ob_virtio_write(chain, at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    lasting_give(stream, len);
    connection->credit.sent += (uint32_t)len;
    return put_header(connection, guest_cid, PACKET_RW, 0, (uint32_t)len, chain);
}

static size_t fill_stream(struct connection *connection, uint64_t guest_cid, uint32_t room,
                          struct ob_virtio_chain *chain)
{
    if (connection->kept.stream)
        return fill_lasting(connection, guest_cid, room, chain);
    struct iovec pieces[CONNECTION_SPANS];
    size_t len = chain->writable_len - PACKET_HEADER_LEN;
    if (len > room)
        len = room;
    unsigned count =
        connection_payload_pieces(chain->writable, chain->num_writable, len, pieces, &len);
    size_t got = count > 0 ? read_in(connection, pieces, count) : 0;
    if (got == 0)
        return 0;
    if (got < len)
        connection->readable = false; /* the socket is watched again */
    connection->credit.sent += (uint32_t)got;
    return put_header(connection, guest_cid, PACKET_RW, 0, (uint32_t)got, chain);
}

/* The next message of the socket, whole, or the next fragment of the other device. False: there
 * is none. */
static bool take_message(struct connection *connection)
{
    static uint8_t scratch[1 + CONNECTION_MESSAGE_MAX + 1];
    struct connection_message *message = &connection->message;
    const size_t head = connection_has_fragments(connection) ? 1 : 0;
    struct iovec piece = {.iov_base = scratch, .iov_len = sizeof(scratch) - 1 + head};
    size_t got = read_in(connection, &piece, 1);
    if (got < head || got == 0)
        return false;
    const size_t len = got - head;
    uint8_t *bytes = len <= CONNECTION_MESSAGE_MAX ? malloc(len + 1) : NULL;
    if (!bytes || len + message->before > connection->credit.peer_buf_alloc) {
        free(bytes);
        connection->readable = false;                     /* nothing goes behind the gap */
        connection_shut_host(connection, PACKET_NEITHER); /* it can never be sent whole */
        return false;
    }
    memcpy(bytes, scratch + head, len);
    const uint32_t flags = head ? scratch[0] : PACKET_END_OF_MESSAGE;
    const bool ends = flags & PACKET_END_OF_MESSAGE;
    *message =
        (struct connection_message){.bytes = bytes,
                                    .len = (uint32_t)len,
                                    .flags = flags & (PACKET_END_OF_MESSAGE | PACKET_END_OF_RECORD),
                                    .before = ends ? 0 : message->before + (uint32_t)len};
    return true;
}

static size_t fill_message(struct connection *connection, uint64_t guest_cid, uint32_t room,
                           struct ob_virtio_chain *chain)
{
    struct connection_message *message = &connection->message;
    if (!message->bytes && !take_message(connection))
        return 0;
    uint32_t len = message->len - message->sent;
    if (len > chain->writable_len - PACKET_HEADER_LEN)
        len = (uint32_t)(chain->writable_len - PACKET_HEADER_LEN);
    if (len > room)
        len = room;
    ob_virtio_write(chain, PACKET_HEADER_LEN, message->bytes + message->sent, len);
    connection->credit.sent += len;
    message->sent += len;
    bool ends = message->sent == message->len;
    if (ends) {
        free(message->bytes);
        message->bytes = NULL;
    }
    return put_header(connection, guest_cid, PACKET_RW, ends ? message->flags : 0, len, chain);
}

static size_t fill_data(struct connection *connection, uint64_t guest_cid,
                        struct ob_virtio_chain *chain)
{
    uint32_t room = credit_room(&connection->credit);
    if (!may_send(connection) || chain->writable_len <= PACKET_HEADER_LEN)
        return 0;
    if (room == 0) {
        if (connection->credit_asked)
            return 0;
        connection->credit_asked = true;
        return put_header(connection, guest_cid, PACKET_CREDIT_REQUEST, 0, 0, chain);
    }
    return connection_has_messages(connection) ? fill_message(connection, guest_cid, room, chain)
                                               : fill_stream(connection, guest_cid, room, chain);
}

/* The next packet without payload that is owed and may go now, or 0. */
static uint16_t next_owed(struct connection *connection, uint32_t *ret_flags)
{
    const uint8_t now = owes_now(connection);
    static const struct {
        uint8_t owes;
        uint16_t op;
    } order[] = {{OWES_REQUEST, PACKET_REQUEST}, {OWES_RESPONSE, PACKET_RESPONSE}};
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (now & order[i].owes) {
            connection->owes &= (uint8_t)~order[i].owes;
            return order[i].op;
        }
    if (now & OWES_SHUTDOWN) {
        connection->owes &= (uint8_t)~OWES_SHUTDOWN;
        *ret_flags = connection->host_shutdown;
        return PACKET_SHUTDOWN;
    }
    if (now & OWES_CREDIT_REQUEST) {
        connection->owes &= (uint8_t)~OWES_CREDIT_REQUEST;
        return PACKET_CREDIT_REQUEST;
    }
    return now & OWES_CREDIT_UPDATE ? PACKET_CREDIT_UPDATE : 0;
}

enum connection_verdict vsock_connection_fill(struct connection *connection, uint64_t guest_cid,
                                              struct ob_virtio_chain *chain, size_t *ret_written)
{
    uint32_t flags = 0;
    if (connection->state == CONNECTION_RESETTING) {
        *ret_written = put_header(connection, guest_cid, PACKET_RST, 0, 0, chain);
        return CONNECTION_OVER;
    }
    uint16_t op = next_owed(connection, &flags);
    *ret_written = op ? put_header(connection, guest_cid, op, flags, 0, chain)
                      : fill_data(connection, guest_cid, chain);
    if (*ret_written == 0) { /* the look for bytes has found the end */
        op = next_owed(connection, &flags);
        *ret_written = op ? put_header(connection, guest_cid, op, flags, 0, chain) : 0;
    }
    return CONNECTION_GOES_ON;
}
