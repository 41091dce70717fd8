// SPDX-License-Identifier: BSD-3-Clause
/*
 * The meaning of each frame. A frame is checked against the session (tag, direction, number), then
 * against its row below (length, whether it names a stream), and only then reaches its handler,
 * which checks it against the state of the stream.
 *
 * A frame for a stream that is over is dropped, since it may have crossed our RESET; a frame for a
 * stream that never was is a violation.
 */
#include "session/frames.h"
#include "session/handshake.h"
#include "session/liveness.h"
#include "session/queues.h"
#include "session/session.h"
#include "session/streams.h"
#include "session/unread.h"
#include "session/verdict.h"

#include <errno.h>

#define VIOLATION(session, ...) verdict_broken(session, -EPROTO, OB_REASON_PROTOCOL, __VA_ARGS__)

/* The stream may be NULL only where the row says so. */
typedef enum verdict (*frame_fn)(struct ob_session *session, struct ob_stream *stream,
                                 const struct session_header *header, const uint8_t *payload);

static enum verdict on_bye(struct ob_session *session, struct ob_stream *stream,
                           const struct session_header *header, const uint8_t *payload)
{
    uint32_t reason;
    session_u32_get(payload, header->len, &reason);
    return verdict_over(session, reason, false);
}

static enum verdict on_goaway(struct ob_session *session, struct ob_stream *stream,
                              const struct session_header *header, const uint8_t *payload)
{
    uint32_t reason;
    session_u32_get(payload, header->len, &reason);
    session->peer_going_away = true;
    TELL(session, going_away, reason);
    return VERDICT_GO_ON;
}

/* Of several PINGs that wait the last one is answered: a flood costs nothing. */
static enum verdict on_ping(struct ob_session *session, struct ob_stream *stream,
                            const struct session_header *header, const uint8_t *payload)
{
    session_u64_get(payload, header->len, &session->tx.pong_value);
    session->tx.pending |= PENDING_PONG;
    return VERDICT_GO_ON;
}

static enum verdict on_pong(struct ob_session *session, struct ob_stream *stream,
                            const struct session_header *header, const uint8_t *payload)
{
    uint64_t value;
    session_u64_get(payload, header->len, &value);
    liveness_pong(session, value);
    return VERDICT_GO_ON;
}

static enum verdict open_stream(struct ob_session *session, uint64_t id,
                                const struct session_open *open)
{
    struct streams *streams = &session->streams;
    uint32_t reason = OB_REASON_NONE;
    if (session->going_away)
        reason = OB_REASON_SHUTDOWN;
    else if (!session->config.events.incoming)
        reason = OB_REASON_NO_SERVICE;
    else if (streams->count - streams->ours >= session->config.max_streams)
        reason = OB_REASON_BUSY;
    struct ob_stream *stream = reason ? NULL : stream_new(session, STREAM_INCOMING);
    if (!stream) {
        refuse_unborn(session, id, reason ? reason : OB_REASON_NO_MEMORY);
        return VERDICT_GO_ON;
    }
    stream_enter_table(stream, id);
    stream->unanswered = true;
    streams->unanswered_theirs++;
    stream->tx.limit = open->window;
    const struct ob_open asked = {
        .service = (const char *)open->service,
        .service_len = open->service_len,
        .metadata = open->metadata,
        .metadata_len = open->metadata_len,
    };
    TELL(session, incoming, stream, &asked);
    return VERDICT_GO_ON;
}

static enum verdict on_open(struct ob_session *session, struct ob_stream *stream,
                            const struct session_header *header, const uint8_t *payload)
{
    struct streams *streams = &session->streams;
    struct session_open open;
    if (header->stream != streams->next_theirs)
        return VIOLATION(session, "OPEN of stream %ju: the id is not the next one",
                         (uintmax_t)header->stream);
    if (session_open_get(payload, header->len, &open) < 0)
        return VIOLATION(session, "OPEN is malformed");
    if (open.window > LIMIT_SESSION_WINDOW)
        return VIOLATION(session, "OPEN: got a window of %u bytes", open.window);
    if (streams->unanswered_theirs >= streams->refusals_room)
        return VIOLATION(session, "got more than %u unanswered OPENs", streams->refusals_room);
    streams->next_theirs += 2;
    return open_stream(session, header->stream, &open);
}

static enum verdict on_accept(struct ob_session *session, struct ob_stream *stream,
                              const struct session_header *header, const uint8_t *payload)
{
    uint32_t window;
    session_u32_get(payload, header->len, &window);
    if (stream->state != STREAM_OPENING)
        return VIOLATION(session, "ACCEPT of a stream that is not opening");
    if (window > LIMIT_SESSION_WINDOW)
        return VIOLATION(session, "ACCEPT: got a window of %u bytes", window);
    stream_answered(stream);
    stream->state = STREAM_OPEN;
    stream->tx.limit = window;
    stream_schedule(stream);
    stream_finish(stream);
    TELL(session, opened, stream);
    return VERDICT_GO_ON;
}

static enum verdict on_refuse(struct ob_session *session, struct ob_stream *stream,
                              const struct session_header *header, const uint8_t *payload)
{
    uint32_t reason;
    session_u32_get(payload, header->len, &reason);
    if (stream->state != STREAM_OPENING)
        return VIOLATION(session, "REFUSE of a stream that is not opening");
    if (!reason)
        reason = OB_REASON_CANCELLED;
    stream_answered(stream);
    stream_detach(stream, reason);
    TELL(session, refused, stream, reason);
    return VERDICT_GO_ON;
}

/* Each count may only grow, and the peer cannot have consumed bytes that it was not sent. */
static enum verdict on_credit(struct ob_session *session, struct ob_stream *stream,
                              const struct session_header *header, const uint8_t *payload)
{
    struct session_credit credit;
    struct stream_tx *tx = &stream->tx;
    session_credit_get(payload, header->len, &credit);
    if (stream->state != STREAM_OPEN)
        return VIOLATION(session, "CREDIT on a stream that is not open");
    if (credit.consumed > tx->sent)
        return VIOLATION(session, "CREDIT for bytes that were never sent");
    if (credit.consumed < tx->acknowledged)
        return VIOLATION(session, "CREDIT goes back");
    if (credit.window > LIMIT_SESSION_WINDOW)
        return VIOLATION(session, "CREDIT: got a window of %u bytes", credit.window);
    if (credit.consumed + credit.window < tx->limit)
        return VIOLATION(session, "CREDIT takes back granted credit");
    tx->acknowledged = credit.consumed;
    tx->limit = credit.consumed + credit.window;
    stream_schedule(stream);
    if (tx->ended && !tx->told_finished && tx->acknowledged == tx->sent) {
        tx->told_finished = true;
        TELL(session, finished, stream);
    }
    return VERDICT_GO_ON;
}

static enum verdict on_fin(struct ob_session *session, struct ob_stream *stream,
                           const struct session_header *header, const uint8_t *payload)
{
    uint64_t total;
    session_u64_get(payload, header->len, &total);
    if (stream->state != STREAM_OPEN || stream->rx.ended)
        return VIOLATION(session, "FIN on a stream that is not open");
    if (total != stream->rx.received)
        return VIOLATION(session, "FIN: got a count of %ju bytes, but %ju arrived",
                         (uintmax_t)total, (uintmax_t)stream->rx.received);
    bool any = unread_any(stream);
    stream->rx.ended = true;
    unread_tell(stream); /* also behind unread bytes: who leaves them unread learns the end by it */
    if (!any)
        stream_confirm_end(stream);
    return VERDICT_GO_ON;
}

static enum verdict on_reset(struct ob_session *session, struct ob_stream *stream,
                             const struct session_header *header, const uint8_t *payload)
{
    uint32_t reason;
    session_u32_get(payload, header->len, &reason);
    if (stream->state == STREAM_OPENING)
        return VIOLATION(session, "RESET of a stream that was not accepted");
    if (!reason)
        reason = OB_REASON_CANCELLED;
    stream_answered(stream);
    stream_detach(stream, reason);
    if (stream->orphan)
        stream_release(stream);
    else
        TELL(session, reset, stream, reason);
    return VERDICT_GO_ON;
}

enum subject {
    OF_SESSION,
    OF_STREAM,
    OF_NEW_STREAM,
};

static const struct {
    uint16_t min_len, max_len;
    enum subject subject;
    frame_fn handler;
} rows[SESSION_TYPES] = {
    [SESSION_BYE] = {4, 4, OF_SESSION, on_bye},
    [SESSION_GOAWAY] = {4, 4, OF_SESSION, on_goaway},
    [SESSION_PING] = {8, 8, OF_SESSION, on_ping},
    [SESSION_PONG] = {8, 8, OF_SESSION, on_pong},
    [SESSION_OPEN] = {SESSION_OPEN_LEN_MIN + 1, LIMIT_SESSION_CONTROL_PAYLOAD, OF_NEW_STREAM,
                      on_open},
    [SESSION_ACCEPT] = {4, 4, OF_STREAM, on_accept},
    [SESSION_REFUSE] = {4, 4, OF_STREAM, on_refuse},
    [SESSION_DATA] = {1, LIMIT_SESSION_DATA, OF_STREAM, NULL},
    [SESSION_CREDIT] = {SESSION_CREDIT_LEN, SESSION_CREDIT_LEN, OF_STREAM, on_credit},
    [SESSION_FIN] = {8, 8, OF_STREAM, on_fin},
    [SESSION_RESET] = {4, 4, OF_STREAM, on_reset},
};

static enum verdict begin_data(struct ob_session *session, const struct session_header *header)
{
    const struct ob_stream *stream = stream_find(session, header->stream);
    if (!stream && !stream_was_opened(session, header->stream))
        return VIOLATION(session, "DATA on stream %ju, which was never opened",
                         (uintmax_t)header->stream);
    if (!stream) {
        session->stats.frames_dropped++;
        return VERDICT_SKIP;
    }
    if (stream->state != STREAM_OPEN || stream->rx.ended)
        return VIOLATION(session, "DATA on a stream that is not open");
    if (header->len > stream->rx.limit - stream->rx.received)
        return VIOLATION(session, "DATA beyond the credit of stream %ju",
                         (uintmax_t)header->stream);
    return VERDICT_GO_ON;
}

/* HELLO and HELLO_ACK belong to no session yet. */
static enum verdict begin_greeting(struct ob_session *session, const struct session_header *header)
{
    if (!header->flags && !header->seq && !header->stream && !header->tag &&
        header->len <= LIMIT_SESSION_CONTROL_PAYLOAD)
        return VERDICT_GO_ON;
    if (!handshake_is_guarded(session))
        return VIOLATION(session, "a greeting with a malformed header");
    session->stats.frames_dropped++;
    return VERDICT_SKIP;
}

/* On a clean channel even a frame of no session of ours has to be a frame. */
static enum verdict begin_foreign(struct ob_session *session, const struct session_header *header)
{
    if (!on_line(session) && (header->type < SESSION_HELLO || header->type >= SESSION_TYPES ||
                              header->len > LIMIT_SESSION_DATA))
        return VIOLATION(session, header->type ? "the peer does not speak the session protocol"
                                               : "the peer takes this channel for a raw line");
    session->stats.frames_dropped++;
    return VERDICT_SKIP;
}

enum verdict frame_begin(struct ob_session *session, const struct session_header *header)
{
    const struct handshake *handshake = &session->handshake;
    session->stats.frames_received++;
    if (header->type == SESSION_HELLO || header->type == SESSION_HELLO_ACK)
        return begin_greeting(session, header);
    if (session->state != SESSION_UP || header->tag != handshake->tag)
        return begin_foreign(session, header);
    if (header->flags != (handshake->greater ? 0 : SESSION_FLAG_GREATER)) {
        session->stats.frames_dropped++; /* the line has an echo */
        return VERDICT_SKIP;
    }
    if (header->seq != session->rx.seq)
        return verdict_broken(session, -EPROTO,
                              on_line(session) ? OB_REASON_CORRUPT : OB_REASON_PROTOCOL,
                              "frame number: got %u, expected %u", header->seq, session->rx.seq);
    session->rx.seq++;
    if (header->type >= SESSION_TYPES || !rows[header->type].max_len)
        return VIOLATION(session, "frame of unknown type %u", header->type);
    if (header->len < rows[header->type].min_len || header->len > rows[header->type].max_len)
        return VIOLATION(session, "frame of type %u: got a payload of %u bytes", header->type,
                         header->len);
    if ((header->stream == 0) != (rows[header->type].subject == OF_SESSION))
        return VIOLATION(session, "frame of type %u: got a wrong stream id", header->type);
    return header->type == SESSION_DATA ? begin_data(session, header) : VERDICT_GO_ON;
}

enum verdict frame_control(struct ob_session *session, const struct session_header *header,
                           const uint8_t *payload)
{
    if (header->type == SESSION_HELLO)
        return handshake_hello(session, payload, header->len);
    if (header->type == SESSION_HELLO_ACK)
        return handshake_hello_ack(session, payload, header->len);
    frame_fn handler = rows[header->type].handler;
    if (rows[header->type].subject != OF_STREAM)
        return handler(session, NULL, header, payload);
    struct ob_stream *stream = stream_find(session, header->stream);
    if (stream)
        return handler(session, stream, header, payload);
    if (!stream_was_opened(session, header->stream))
        return VIOLATION(session, "frame of type %u on stream %ju, which was never opened",
                         header->type, (uintmax_t)header->stream);
    if (header->type == SESSION_RESET)
        refusal_cancel(session, header->stream);
    session->stats.frames_dropped++;
    return VERDICT_GO_ON;
}

void frame_data(struct ob_session *session, uint64_t id, const uint8_t *bytes, size_t len)
{
    struct ob_stream *stream = stream_find(session, id);
    if (!stream)
        return;
    bool news = !unread_any(stream);
    stream->rx.received += len;
    unread_add(stream, bytes, len);
    if (news)
        unread_tell(stream);
    if (!session->rx.lent || unread_full(session))
        streams_keep_unread(session);
}
