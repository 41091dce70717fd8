// SPDX-License-Identifier: BSD-3-Clause
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection_parts.h"
#include "greeting.h"
#include "port/stream.h"

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
    if (connection->kept.stream) { /* the vault has it: it is closed behind the next commit */
        if (connection->fd >= 0)
            shutdown(connection->fd, SHUT_RDWR);
        connection->kept.is_shut = true;
        connection->host_shutdown = PACKET_NEITHER;
        connection->readable = connection->blocked = false;
        return;
    }
    if (connection->fd >= 0)
        port_stream_close(connection->fd);
    connection->fd = -1;
    connection->readable = connection->blocked = false;
    backlog_clear(&connection->backlog);
    drop_message(connection);
}

void vsock_connection_end(struct connection *connection)
{
    connection->kept.stream = NULL;
    close_socket(connection);
    connection->state = CONNECTION_FREE;
}

void vsock_connection_retire(struct connection *connection)
{
    close_socket(connection);
    connection->owes = 0;
    connection->deadline_ns = 0;
    connection->state = CONNECTION_CLOSING;
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
           connection_has_backlog(connection) && !(connection->host_shutdown & PACKET_NO_RECEIVE);
}

static bool say(struct connection *connection, const char *line)
{
    const ssize_t len = (ssize_t)strlen(line);
    struct iovec piece[2];
    if (connection->kept.stream) {
        if (lasting_room(connection->kept.stream, (size_t)len, piece) != 1)
            return false;
        memcpy(piece[0].iov_base, line, (size_t)len);
        lasting_put(connection->kept.stream, (size_t)len);
        connection->kept.lines += (uint32_t)len;
        return true;
    }
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

/* The line lies in the ring; the bytes behind it are the other guest's. */
static enum connection_verdict hear_lasting(struct connection *connection)
{
    struct greeting greeting = {0};
    struct iovec pieces[2];
    if (!connection_has_unread(connection) && !connection_receive_lasting(connection))
        return connection->host_shutdown ? CONNECTION_RESET : CONNECTION_GOES_ON;
    size_t len = lasting_num_unread(connection->kept.stream);
    len = len < GREETING_MAX ? len : GREETING_MAX;
    if (lasting_unread(connection->kept.stream, len, pieces) == 0)
        return CONNECTION_RESET;
    memcpy(greeting.line, pieces[0].iov_base,
           pieces[0].iov_len); /* whole: the ring begins with it */
    const char *end = memchr(greeting.line, '\n', pieces[0].iov_len);
    if (!end)
        return CONNECTION_RESET;
    greeting.len = (size_t)(end - greeting.line) + 1;
    lasting_give(connection->kept.stream, greeting.len);
    return greeting_is_consent(&greeting) ? accept_request(connection) : CONNECTION_RESET;
}

enum connection_verdict vsock_connection_hear(struct connection *connection)
{
    struct greeting greeting = {0};
    if (connection->kept.stream)
        return hear_lasting(connection);
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

/* Behind the last byte. */
static enum connection_verdict finish_sending(struct connection *connection)
{
    if (connection_has_backlog(connection) && !(connection->host_shutdown & PACKET_NO_RECEIVE))
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
        connection_lose_reader(connection);
    return 0;
}

/* The device's own lines are not of the guest's credit. */
static void sent_lasting(struct connection *connection, size_t sent)
{
    const uint64_t before = connection->kept.stream->sent - sent, lines = connection->kept.lines;
    const uint64_t own = before < lines ? lines - before : 0;
    connection_forwarded(connection, own < sent ? sent - (size_t)own : 0);
}

/* Everything in the ring is committed. */
static enum connection_verdict flush_lasting(struct connection *connection)
{
    while (!connection->blocked && !connection->kept.is_shut &&
           connection_has_backlog(connection) && !(connection->host_shutdown & PACKET_NO_RECEIVE)) {
        ssize_t sent = lasting_send(connection->kept.stream, connection->fd);
        if (sent > 0)
            sent_lasting(connection, (size_t)sent);
        else if (sent == -EAGAIN)
            connection->blocked = true;
        else
            connection_lose_reader(connection);
    }
    return finish_sending(connection);
}

enum connection_verdict vsock_connection_flush(struct connection *connection)
{
    const bool messages = connection_has_messages(connection);
    if (connection->kept.stream)
        return flush_lasting(connection);
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
        connection_forwarded(connection, sent - (connection_has_fragments(connection) ? 1 : 0));
    }
    return finish_sending(connection);
}

unsigned connection_payload_pieces(const struct ob_dma_span *spans, unsigned count, size_t len,
                                   struct iovec *ret_pieces, size_t *ret_len)
{
    size_t skip = PACKET_HEADER_LEN, left = len;
    unsigned pieces = 0;
    for (unsigned i = 0; i < count && left > 0 && pieces < CONNECTION_SPANS; i++) {
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
    struct iovec pieces[CONNECTION_SPANS];
    size_t in_pieces = 0;
    if (connection->blocked || !backlog_is_empty(&connection->backlog))
        return 0;
    unsigned count =
        connection_payload_pieces(chain->readable, chain->num_readable, len, pieces, &in_pieces);
    size_t sent = count > 0 ? write_out(connection, pieces, count) : 0;
    connection_forwarded(connection, sent);
    return sent;
}

/* Into the ring; vsock_connection_flush() follows behind the commit. */
static enum connection_verdict receive_lasting(struct connection *connection,
                                               const struct packet *packet,
                                               const struct ob_virtio_chain *chain)
{
    struct iovec pieces[2];
    size_t at = PACKET_HEADER_LEN;
    unsigned count = lasting_room(connection->kept.stream, packet->len, pieces);
    if (count == 0 && packet->len > 0)
        return CONNECTION_RESET;
    for (unsigned i = 0; i < count; i++) {
        ob_virtio_read(chain, at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    lasting_put(connection->kept.stream, packet->len);
    return CONNECTION_GOES_ON;
}

static enum connection_verdict receive_stream(struct connection *connection,
                                              const struct packet *packet,
                                              const struct ob_virtio_chain *chain)
{
    if (connection->kept.stream)
        return receive_lasting(connection, packet, chain);
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
        connection_forwarded(connection, packet->len);
        return CONNECTION_GOES_ON;
    }
    if (!connection_has_messages(connection))
        return receive_stream(connection, packet, chain);
    return connection_has_fragments(connection) ? pass_fragment(connection, packet, chain)
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

void vsock_connection_record(const struct connection *connection,
                             struct connection_record *ret_record)
{
    *ret_record = (struct connection_record){.guest_port = connection->guest_port,
                                             .peer = connection->peer,
                                             .lines = connection->kept.lines,
                                             .credit = connection->credit,
                                             .type = connection->type,
                                             .state = connection->state,
                                             .owes = connection->owes,
                                             .guest_shutdown = connection->guest_shutdown,
                                             .host_shutdown = connection->host_shutdown,
                                             .announced = connection->announced,
                                             .has_stream = connection->kept.stream != NULL,
                                             .is_shut = connection->kept.is_shut};
}

/* The counters of credit that follow from the positions in the rings: the other process may lie. */
static bool restore_stream(struct connection *connection, const struct connection_record *record,
                           struct lasting_stream *stream)
{
    struct credit *credit = &connection->credit;
    const uint64_t taken = stream->sent > record->lines ? stream->sent - record->lines : 0;
    if (record->lines > stream->put)
        return false;
    connection->kept = (struct connection_kept){
        .stream = stream, .lines = record->lines, .is_shut = record->is_shut};
    credit->received = (uint32_t)(stream->put - record->lines);
    credit->fwd_cnt = (uint32_t)taken;
    if (record->is_shut)
        connection->host_shutdown = PACKET_NEITHER;
    if (connection->host_shutdown & PACKET_NO_RECEIVE) /* the rest went to nowhere, and more did */
        credit->received = credit->fwd_cnt = record->credit.received;
    if (connection->state == CONNECTION_OPEN) {
        connection->readable = !(connection->host_shutdown & PACKET_NO_SEND) &&
                               !(connection->guest_shutdown & PACKET_NO_RECEIVE);
        connection->owes |= OWES_CREDIT_UPDATE; /* the last one is not known */
    }
    return true;
}

bool vsock_connection_restore(struct connection *connection, const struct connection_record *record,
                              int fd, struct lasting_stream *stream)
{
    const uint32_t buf_alloc = connection->credit.buf_alloc;
    if (record->type != PACKET_STREAM && record->type != PACKET_SEQPACKET)
        return false;
    connection->credit = record->credit;
    connection->credit.buf_alloc = buf_alloc;
    connection->owes = record->owes & (OWES_REQUEST | OWES_RESPONSE | OWES_SHUTDOWN |
                                       OWES_CREDIT_UPDATE | OWES_CREDIT_REQUEST);
    connection->guest_shutdown = record->guest_shutdown & PACKET_NEITHER;
    connection->host_shutdown = record->host_shutdown & PACKET_NEITHER;
    connection->announced = record->announced;
    connection->fd = fd;
    if (fd >= 0)
        return restore_stream(connection, record, stream);
    if (connection->state == CONNECTION_DRAINING)
        return false;
    if (connection->state != CONNECTION_DIALLING)
        vsock_connection_reset(connection);
    return true;
}
