// SPDX-License-Identifier: BSD-3-Clause
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "greeting.h"
#include "port/stream.h"

/* Spans of a chain that one call of the kernel is given. A packet that needs more is cut, and a
 * driver's is copied. */
#define SPANS 64u

void vsock_connection_begin(struct connection *connection, enum connection_state state,
                            uint16_t type, uint32_t guest_port, struct connection_peer peer,
                            uint32_t buf_alloc)
{
    *connection = (struct connection){.guest_port = guest_port,
                                      .peer = peer,
                                      .type = type,
                                      .state = (uint8_t)state,
                                      .owes = state == CONNECTION_ASKING ? OWES_REQUEST : 0,
                                      .fd = -1,
                                      .credit = {.buf_alloc = buf_alloc}};
}

static void drop_message(struct connection *connection)
{
    free(connection->message.bytes);
    connection->message = (struct connection_message){0};
}

static void close_socket(struct connection *connection)
{
    if (connection->fd >= 0)
        port_stream_close(connection->fd);
    connection->fd = -1;
    connection->readable = connection->blocked = false;
    backlog_clear(&connection->backlog);
    drop_message(connection);
}

void vsock_connection_end(struct connection *connection)
{
    close_socket(connection);
    connection->state = CONNECTION_FREE;
}

void vsock_connection_reset(struct connection *connection)
{
    connection->state = CONNECTION_RESETTING;
    connection->owes = 0;
    connection->readable = false;
    if (!vsock_connection_must_drain(connection))
        close_socket(connection);
}

bool vsock_connection_must_drain(const struct connection *connection)
{
    return connection->guest_shutdown == PACKET_NEITHER && connection->fd >= 0 &&
           !backlog_is_empty(&connection->backlog) &&
           !(connection->host_shutdown & PACKET_NO_RECEIVE);
}

static bool has_messages(const struct connection *connection)
{
    return connection->type == PACKET_SEQPACKET;
}

/* Whether its socket carries fragments of messages, each behind a byte of flags. */
static bool has_fragments(const struct connection *connection)
{
    return has_messages(connection) && connection->peer.cid != VSOCK_CID_HOST;
}

static bool say(const struct connection *connection, const char *line)
{
    const ssize_t len = (ssize_t)strlen(line);
    return send(connection->fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) == len;
}

static enum connection_verdict accept_request(struct connection *connection)
{
    connection->state = CONNECTION_OPEN;
    connection->owes |= OWES_RESPONSE;
    connection->deadline_ns = 0;
    return CONNECTION_GOES_ON;
}

enum connection_verdict vsock_connection_dialled(struct connection *connection, int fd)
{
    char line[GREETING_MAX];
    connection->fd = fd;
    if (connection->peer.cid == VSOCK_CID_HOST)
        return accept_request(connection);
    greeting_format(connection->peer.port, connection->guest_port, line);
    connection->state = CONNECTION_GREETING;
    return say(connection, line) ? CONNECTION_GOES_ON : CONNECTION_RESET;
}

enum connection_verdict vsock_connection_hear(struct connection *connection)
{
    struct greeting greeting = {0};
    int err = greeting_take(&greeting, connection->fd);
    /* The other device sends its line at once, so a part of it is another program's. */
    if (err == -EAGAIN && greeting.len == 0)
        return CONNECTION_GOES_ON;
    return err == 0 && greeting_is_consent(&greeting) ? accept_request(connection)
                                                      : CONNECTION_RESET;
}

void vsock_connection_attach(struct connection *connection, int fd, bool announce)
{
    connection->fd = fd;
    connection->announced = announce;
}

/* The guest has accepted: the host's client is told its port, as Firecracker does. */
static enum connection_verdict open_asked(struct connection *connection)
{
    char line[32];
    snprintf(line, sizeof(line), "OK %u\n", connection->peer.port);
    connection->state = CONNECTION_OPEN;
    connection->deadline_ns = 0;
    bool sent = !connection->announced || say(connection, line);
    return sent ? CONNECTION_GOES_ON : CONNECTION_RESET;
}

/* The guest is told that the host's end does this no more. */
static void shut_host(struct connection *connection, uint8_t directions)
{
    if ((connection->host_shutdown & directions) == directions)
        return;
    connection->host_shutdown |= directions;
    if (connection->state == CONNECTION_OPEN)
        connection->owes |= OWES_SHUTDOWN;
}

/* Bytes of the guest have left for the socket, or for nowhere. */
static void forwarded(struct connection *connection, size_t len)
{
    connection->credit.fwd_cnt += (uint32_t)len;
    if (connection->state == CONNECTION_OPEN && credit_is_stale(&connection->credit))
        connection->owes |= OWES_CREDIT_UPDATE;
}

/* The host takes nothing any more. */
static void lose_reader(struct connection *connection)
{
    forwarded(connection, connection->credit.received - connection->credit.fwd_cnt);
    backlog_clear(&connection->backlog);
    connection->blocked = false;
    shut_host(connection, PACKET_NO_RECEIVE);
}

/* Behind the last byte. */
static enum connection_verdict finish_sending(struct connection *connection)
{
    if (!backlog_is_empty(&connection->backlog) && !(connection->host_shutdown & PACKET_NO_RECEIVE))
        return CONNECTION_GOES_ON;
    if (connection->state == CONNECTION_DRAINING)
        return CONNECTION_OVER;
    if (connection->guest_shutdown & PACKET_NO_SEND)
        shutdown(connection->fd, SHUT_WR);
    return CONNECTION_GOES_ON;
}

/* Returns how many bytes the socket took; 0: none at present, or never again. */
static size_t write_out(struct connection *connection, const struct iovec *pieces, size_t count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    ssize_t sent = 0;
    do
        sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        connection->blocked = true;
    else
        lose_reader(connection);
    return 0;
}

enum connection_verdict vsock_connection_flush(struct connection *connection)
{
    const bool messages = has_messages(connection);
    connection->blocked = false;
    while (!connection->blocked && connection->fd >= 0) {
        size_t len = 0;
        const uint8_t *first = backlog_first(&connection->backlog, messages, &len);
        if (!first)
            break;
        const struct iovec piece = {.iov_base = (uint8_t *)first, .iov_len = len};
        size_t sent = write_out(connection, &piece, 1);
        if (connection->blocked || (connection->host_shutdown & PACKET_NO_RECEIVE))
            break;
        backlog_drop(&connection->backlog, messages, sent);
        forwarded(connection, sent - (has_fragments(connection) ? 1 : 0));
    }
    return finish_sending(connection);
}

/* The payload's pieces in guest memory, behind the header; *ret_len: bytes in them, fewer than len
 * if there are more than SPANS. */
static unsigned payload_pieces(const struct ob_dma_span *spans, unsigned count, size_t len,
                               struct iovec *ret_pieces, size_t *ret_len)
{
    size_t skip = PACKET_HEADER_LEN, left = len;
    unsigned pieces = 0;
    for (unsigned i = 0; i < count && left > 0 && pieces < SPANS; i++) {
        if (skip >= spans[i].len) {
            skip -= spans[i].len;
            continue;
        }
        size_t here = spans[i].len - skip < left ? spans[i].len - skip : left;
        ret_pieces[pieces++] =
            (struct iovec){.iov_base = (uint8_t *)spans[i].address + skip, .iov_len = here};
        left -= here;
        skip = 0;
    }
    *ret_len = len - left;
    return pieces;
}

/* Straight from guest memory to the socket. Returns how many bytes went. */
static size_t send_at_once(struct connection *connection, const struct ob_virtio_chain *chain,
                           uint32_t len)
{
    struct iovec pieces[SPANS];
    size_t in_pieces = 0;
    if (connection->blocked || !backlog_is_empty(&connection->backlog))
        return 0;
    unsigned count = payload_pieces(chain->readable, chain->num_readable, len, pieces, &in_pieces);
    size_t sent = count > 0 ? write_out(connection, pieces, count) : 0;
    forwarded(connection, sent);
    return sent;
}

static enum connection_verdict receive_stream(struct connection *connection,
                                              const struct packet *packet,
                                              const struct ob_virtio_chain *chain)
{
    size_t sent = send_at_once(connection, chain, packet->len);
    if (connection->host_shutdown & PACKET_NO_RECEIVE)
        return CONNECTION_GOES_ON;
    size_t rest = packet->len - sent;
    if (rest == 0)
        return CONNECTION_GOES_ON;
    uint8_t *room = backlog_add(&connection->backlog, rest);
    if (!room)
        return CONNECTION_RESET;
    ob_virtio_read(chain, PACKET_HEADER_LEN + sent, room, rest);
    return connection->blocked ? CONNECTION_GOES_ON : vsock_connection_flush(connection);
}

static enum connection_verdict receive_fragment(struct connection *connection,
                                                const struct packet *packet,
                                                const struct ob_virtio_chain *chain)
{
    bool ends = packet->flags & PACKET_END_OF_MESSAGE;
    if (packet->len == 0 && !connection->backlog.in_message)
        return CONNECTION_GOES_ON; /* a host's socket would take an empty message for its end */
    uint8_t *room = backlog_add_fragment(&connection->backlog, packet->len, ends);
    if (!room)
        return CONNECTION_RESET;
    ob_virtio_read(chain, PACKET_HEADER_LEN, room, packet->len);
    return connection->blocked || !ends ? CONNECTION_GOES_ON : vsock_connection_flush(connection);
}

/* A fragment for another guest. One without bytes is passed on only if it ends a message: the
 * backlog then has at most two fragments for each byte of credit. */
static enum connection_verdict pass_fragment(struct connection *connection,
                                             const struct packet *packet,
                                             const struct ob_virtio_chain *chain)
{
    bool ends = packet->flags & PACKET_END_OF_MESSAGE;
    if (packet->len == 0 && !(ends && connection->in_message))
        return CONNECTION_GOES_ON;
    connection->in_message = !ends;
    uint8_t *room = backlog_add_fragment(&connection->backlog, 1 + packet->len, true);
    if (!room)
        return CONNECTION_RESET;
    room[0] = packet->flags & (PACKET_END_OF_MESSAGE | PACKET_END_OF_RECORD);
    ob_virtio_read(chain, PACKET_HEADER_LEN, room + 1, packet->len);
    return connection->blocked ? CONNECTION_GOES_ON : vsock_connection_flush(connection);
}

static enum connection_verdict receive_data(struct connection *connection,
                                            const struct packet *packet,
                                            const struct ob_virtio_chain *chain)
{
    if (connection->state != CONNECTION_OPEN || (connection->guest_shutdown & PACKET_NO_SEND) ||
        packet->len > credit_own_room(&connection->credit))
        return CONNECTION_RESET;
    connection->credit.received += packet->len;
    if (connection->host_shutdown & PACKET_NO_RECEIVE) {
        forwarded(connection, packet->len);
        return CONNECTION_GOES_ON;
    }
    if (!has_messages(connection))
        return receive_stream(connection, packet, chain);
    return has_fragments(connection) ? pass_fragment(connection, packet, chain)
                                     : receive_fragment(connection, packet, chain);
}

static enum connection_verdict receive_shutdown(struct connection *connection, uint32_t flags)
{
    if (connection->state != CONNECTION_OPEN)
        return CONNECTION_RESET;
    connection->guest_shutdown |= flags & PACKET_NEITHER;
    if (connection->guest_shutdown == PACKET_NEITHER)
        return CONNECTION_RESET; /* the rest of its bytes still go to the host */
    if (connection->guest_shutdown & PACKET_NO_RECEIVE) {
        connection->readable = false;
        drop_message(connection); /* an end of sending would wait for it */
        shutdown(connection->fd, SHUT_RD);
    }
    return finish_sending(connection);
}

static void learn_credit(struct connection *connection, const struct packet *packet)
{
    connection->credit.peer_buf_alloc = packet->buf_alloc;
    connection->credit.peer_fwd_cnt = packet->fwd_cnt;
    /* An answer without room is no reason to ask at once: it would be answered the same way, without end,
     * while the guest's program does not read. The guest tells when there is room. */
    if (credit_room(&connection->credit) > 0)
        connection->credit_asked = false;
}

enum connection_verdict vsock_connection_receive(struct connection *connection,
                                                 const struct packet *packet,
                                                 const struct ob_virtio_chain *chain)
{
    learn_credit(connection, packet);
    switch (packet->op) {
    case PACKET_RESPONSE:
        if (connection->state != CONNECTION_ASKING || (connection->owes & OWES_REQUEST))
            return CONNECTION_RESET;
        return open_asked(connection);
    case PACKET_RST:
        return CONNECTION_OVER;
    case PACKET_SHUTDOWN:
        return receive_shutdown(connection, packet->flags);
    case PACKET_RW:
        return receive_data(connection, packet, chain);
    case PACKET_CREDIT_UPDATE:
        return CONNECTION_GOES_ON;
    case PACKET_CREDIT_REQUEST:
        if (connection->state == CONNECTION_OPEN)
            connection->owes |= OWES_CREDIT_UPDATE;
        return CONNECTION_GOES_ON;
    default: /* a second REQUEST too */
        return CONNECTION_RESET;
    }
}

/* Whether bytes of the host may be sent now. */
static bool may_send(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN &&
           (connection->readable || connection->message.bytes) &&
           !(connection->guest_shutdown & PACKET_NO_RECEIVE);
}

void vsock_connection_ask(struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN)
        connection->owes |= OWES_CREDIT_REQUEST;
}

/* Which of the owed packets may go now: an end of sending goes behind the message that is on its way. */
static uint8_t owes_now(const struct connection *connection)
{
    return connection->owes & (uint8_t) ~(connection->message.bytes ? OWES_SHUTDOWN : 0);
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

/* The host's end has no more bytes. It may be that it takes none either. */
static void end_of_file(struct connection *connection)
{
    connection->readable = false;
    shut_host(connection, PACKET_NO_SEND);
    vsock_connection_look_for_hangup(connection);
}

void vsock_connection_look_for_hangup(struct connection *connection)
{
    struct pollfd look = {.fd = connection->fd, .events = 0};
    if (connection->state != CONNECTION_OPEN || !(connection->host_shutdown & PACKET_NO_SEND) ||
        (connection->host_shutdown & PACKET_NO_RECEIVE))
        return;
    if (poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR)))
        lose_reader(connection);
}

/* 0: there are no bytes at present, or it was the end. */
static size_t read_in(struct connection *connection, const struct iovec *pieces, unsigned count)
{
    ssize_t got = port_stream_read(connection->fd, pieces, count);
    if (got > 0)
        return (size_t)got;
    connection->readable = false;
    if (got == 0)
        end_of_file(connection);
    else if (got != -EAGAIN)
        shut_host(connection, PACKET_NEITHER); /* a reset, or guest memory that has gone */
    return 0;
}

static size_t fill_stream(struct connection *connection, uint64_t guest_cid, uint32_t room,
                          struct ob_virtio_chain *chain)
{
    struct iovec pieces[SPANS];
    size_t len = chain->writable_len - PACKET_HEADER_LEN;
    if (len > room)
        len = room;
    unsigned count = payload_pieces(chain->writable, chain->num_writable, len, pieces, &len);
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
    const size_t head = has_fragments(connection) ? 1 : 0;
    struct iovec piece = {.iov_base = scratch, .iov_len = sizeof(scratch) - 1 + head};
    size_t got = read_in(connection, &piece, 1);
    if (got < head || got == 0)
        return false;
    const size_t len = got - head;
    uint8_t *bytes = len <= CONNECTION_MESSAGE_MAX ? malloc(len + 1) : NULL;
    if (!bytes || len + message->before > connection->credit.peer_buf_alloc) {
        free(bytes);
        connection->readable = false;          /* nothing goes behind the gap */
        shut_host(connection, PACKET_NEITHER); /* it can never be sent whole */
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
    return has_messages(connection) ? fill_message(connection, guest_cid, room, chain)
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
