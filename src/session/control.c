// SPDX-License-Identifier: BSD-3-Clause
/*
 * The control lane: a few kilobytes of encoded control frames that go before any data.
 *
 * Debts to the peer are kept as bits, in the session and in each stream, never as a queue of
 * frames: an application or a peer that provokes the same frame a thousand times makes one of it.
 * The bits become frames when the lane has room, so a stalled channel costs no memory.
 */
#include "session/control.h"
#include "session/handshake.h"
#include "session/liveness.h"
#include "session/queues.h"
#include "session/session.h"
#include "session/streams.h"

#include <stdlib.h>
#include <string.h>

/* The longest control frame but OPEN; kept free at the end of the lane for BYE. */
#define SHORT_FRAME_MAX (SESSION_HEADER_LEN + SESSION_HELLO_ACK_LEN)

void header_next(struct ob_session *session, struct session_header *header,
                 uint8_t ret_bytes[SESSION_HEADER_LEN])
{
    const struct handshake *handshake = &session->handshake;
    header->tag = handshake->tag;
    header->flags = handshake->greater ? SESSION_FLAG_GREATER : 0;
    header->seq = session->tx.seq++;
    session_header_put(ret_bytes, header);
    liveness_sent(session, header->type);
    session->stats.frames_transmitted++;
}

static bool room(const struct ob_session *session, size_t payload_len)
{
    return session->tx.lane_len + SESSION_HEADER_LEN + payload_len + SHORT_FRAME_MAX <=
           LIMIT_SESSION_LANE;
}

/* Where the payload of the next control frame is written, before finish(). */
static uint8_t *payload_at(struct ob_session *session)
{
    return session->tx.lane + session->tx.lane_len + SESSION_HEADER_LEN;
}

static void finish(struct ob_session *session, enum session_type type, uint64_t stream, size_t len)
{
    struct transmitter *tx = &session->tx;
    struct session_header header = {.type = (uint8_t)type, .len = (uint16_t)len, .stream = stream};
    header_next(session, &header, tx->lane + tx->lane_len);
    tx->lane_len += SESSION_HEADER_LEN + len;
}

static void put_u32(struct ob_session *session, enum session_type type, uint64_t stream,
                    uint32_t value)
{
    finish(session, type, stream, session_u32_put(payload_at(session), value));
}

static void put_u64(struct ob_session *session, enum session_type type, uint64_t stream,
                    uint64_t value)
{
    finish(session, type, stream, session_u64_put(payload_at(session), value));
}

/* Greetings carry no tag and no number. */
static void put_greeting(struct ob_session *session, enum session_type type,
                         const struct handshake_peer *to)
{
    struct transmitter *tx = &session->tx;
    uint8_t *payload = payload_at(session);
    size_t len = type == SESSION_HELLO ? handshake_put_hello(session, payload)
                                       : handshake_put_hello_ack(session, to, payload);
    struct session_header header = {.type = (uint8_t)type, .len = (uint16_t)len};
    session_header_put(tx->lane + tx->lane_len, &header);
    tx->lane_len += SESSION_HEADER_LEN + len;
    session->stats.frames_transmitted++;
}

void control_bye(struct ob_session *session, uint32_t reason)
{
    /* A lane that holds the farewell of an earlier session may be full; then HELLO has to do. */
    if (session->tx.lane_len + SHORT_FRAME_MAX <= LIMIT_SESSION_LANE)
        put_u32(session, SESSION_BYE, 0, reason);
}

static void fill_session(struct ob_session *session)
{
    static const uint16_t order[] = {PENDING_HELLO,  PENDING_HELLO_ACK, PENDING_STRANGER_ACK,
                                     PENDING_GOAWAY, PENDING_PONG,      PENDING_PING};
    struct transmitter *tx = &session->tx;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        uint16_t one = tx->pending & order[i];
        if (!one || !room(session, SESSION_HELLO_ACK_LEN))
            continue;
        tx->pending &= (uint16_t)~one;
        if (one == PENDING_HELLO)
            put_greeting(session, SESSION_HELLO, NULL);
        else if (one == PENDING_HELLO_ACK)
            put_greeting(session, SESSION_HELLO_ACK, &session->handshake.peer);
        else if (one == PENDING_STRANGER_ACK)
            put_greeting(session, SESSION_HELLO_ACK, &session->handshake.stranger);
        else if (one == PENDING_GOAWAY)
            put_u32(session, SESSION_GOAWAY, 0, tx->goaway_reason);
        else if (one == PENDING_PONG)
            put_u64(session, SESSION_PONG, 0, tx->pong_value);
        else
            put_u64(session, SESSION_PING, 0, session->live.ping_value);
    }
}

static void fill_refusals(struct ob_session *session)
{
    struct refusal refusal;
    while (session->streams.refusals_count && room(session, 4)) {
        if (refusal_take(session, &refusal))
            put_u32(session, SESSION_REFUSE, refusal.id, refusal.reason);
    }
}

static void put_open(struct ob_session *session, struct ob_stream *stream)
{
    struct streams *streams = &session->streams;
    struct open_request *request = stream->request;
    struct session_open open = {
        .window = session->config.window,
        .service = request->bytes,
        .service_len = request->service_len,
        .metadata = request->bytes + request->service_len,
        .metadata_len = request->metadata_len,
    };
    stream_enter_table(stream, streams->next_ours); /* its link lies where the request was */
    streams->next_ours += 2;
    streams->unanswered_ours++;
    stream->unanswered = true;
    finish(session, SESSION_OPEN, stream->id, session_open_put(payload_at(session), &open));
    free(request);
}

/* The stream whose OPEN may go now, or NULL. */
static struct ob_stream *next_opening(const struct ob_session *session)
{
    const struct list *opening = &session->tx.opening;
    uint32_t most = streams_unanswered_max(session->handshake.peer.max_streams);
    if (list_empty(opening) || session->streams.unanswered_ours >= most)
        return NULL;
    return list_entry(opening->next, struct ob_stream, control);
}

static void fill_openings(struct ob_session *session)
{
    for (struct ob_stream *stream; (stream = next_opening(session));) {
        const struct open_request *request = stream->request;
        if (!room(session, SESSION_OPEN_LEN_MIN + request->service_len + request->metadata_len))
            return;
        list_remove(&stream->control);
        put_open(session, stream);
    }
}

static void put_one(struct ob_session *session, struct ob_stream *stream, uint16_t one)
{
    struct session_credit credit = {.consumed = stream->rx.consumed,
                                    .window = session->config.window};
    switch (one) {
    case PENDING_ACCEPT:
        stream_answered(stream);
        put_u32(session, SESSION_ACCEPT, stream->id, session->config.window);
        stream_schedule(stream);
        break;
    case PENDING_CREDIT:
        stream->rx.limit = credit.consumed + credit.window;
        finish(session, SESSION_CREDIT, stream->id,
               session_credit_put(payload_at(session), &credit));
        break;
    case PENDING_FIN:
        stream->tx.ended = true;
        put_u64(session, SESSION_FIN, stream->id, stream->tx.sent);
        break;
    case PENDING_REFUSE:
        stream_answered(stream);
        put_u32(session, SESSION_REFUSE, stream->id, stream->reason);
        break;
    case PENDING_RESET:
        stream_answered(stream);
        put_u32(session, SESSION_RESET, stream->id, stream->reason);
        break;
    }
}

/* Everything that a stream owes, in this order; false when the lane is full. */
static bool fill_stream(struct ob_session *session, struct ob_stream *stream)
{
    static const uint16_t order[] = {PENDING_ACCEPT, PENDING_CREDIT, PENDING_FIN, PENDING_REFUSE,
                                     PENDING_RESET};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        uint16_t one = stream->pending & order[i];
        if (!one)
            continue;
        if (!room(session, SESSION_CREDIT_LEN))
            return false;
        stream->pending &= (uint16_t)~one;
        put_one(session, stream, one);
    }
    list_remove(&stream->control);
    if (stream->orphan && (stream->state == STREAM_OVER || stream->tx.ended))
        stream_release(stream);
    return true;
}

static void fill_streams(struct ob_session *session)
{
    struct list *control = &session->tx.control;
    for (int i = 0; i < LIMIT_SESSION_CONTROL_BURST && !list_empty(control); i++) {
        if (!fill_stream(session, list_entry(control->next, struct ob_stream, control)))
            return;
    }
}

/* Moves the bytes that are still to be sent to the front, so that the rest is room. */
static void compact(struct transmitter *tx)
{
    tx->lane_len -= tx->lane_done;
    memmove(tx->lane, tx->lane + tx->lane_done, tx->lane_len);
    tx->lane_done = 0;
}

void control_fill(struct ob_session *session)
{
    compact(&session->tx);
    if (session->state != SESSION_GREETING && session->state != SESSION_UP)
        return;
    fill_session(session);
    if (session->state != SESSION_UP || session->tx.pending)
        return;
    fill_refusals(session);
    fill_openings(session);
    fill_streams(session);
}

bool control_waits(const struct ob_session *session)
{
    const struct transmitter *tx = &session->tx;
    if (tx->lane_done < tx->lane_len || tx->pending)
        return true;
    return session->state == SESSION_UP &&
           (session->streams.refusals_count || next_opening(session) || !list_empty(&tx->control));
}

void control_reset(struct ob_session *session)
{
    struct list *control = &session->tx.control;
    session->tx.pending = 0;
    session->streams.refusals_count = 0;
    while (!list_empty(control)) {
        struct ob_stream *stream = list_entry(control->next, struct ob_stream, control);
        list_remove(&stream->control);
        stream->pending = 0;
        if (stream->state == STREAM_OVER && stream->orphan)
            stream_release(stream);
    }
}
