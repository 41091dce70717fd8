// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which bytes go next: the rest of a frame that was partly sent, then the control lane, then data
 * by deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): a stream may send in its turn as much
 * as it has saved up, and saves one full frame's worth per round.
 *
 * On a clean channel payload is not copied: transmit hands out where it lies, and transmitted says
 * how much of that went. DATA frames of which nothing went are taken back, so that control frames
 * which turn up meanwhile overtake them; only one that is partly sent has to continue, and should its
 * stream go away, the rest of its payload is saved in tx.orphaned.
 *
 * On a raw line every frame is copied when it is encoded, and counts as sent then.
 */
#include "session/transmit.h"
#include "session/control.h"
#include "session/line.h"
#include "session/queues.h"
#include "session/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUANTUM (SESSION_HEADER_LEN + LIMIT_SESSION_DATA)

int transmitter_init(struct ob_session *session)
{
    struct transmitter *tx = &session->tx;
    list_init(&tx->opening);
    list_init(&tx->control);
    list_init(&tx->active);
    list_init(&tx->notify);
    if (on_line(session))
        tx->line = line_out_new();
    else
        tx->orphaned = malloc(LIMIT_SESSION_DATA);
    return tx->line || tx->orphaned ? 0 : -ENOMEM;
}

void transmitter_done(struct ob_session *session)
{
    line_out_free(session->tx.line);
    free(session->tx.orphaned);
}

/* Takes the last planned frame back, as if it had never been thought of. */
static void unplan(struct ob_session *session)
{
    struct transmitter *tx = &session->tx;
    const struct data_frame *frame = &tx->planned[--tx->planned_count];
    struct ob_stream *stream = frame->stream;
    tx->seq--;
    session->stats.frames_transmitted--;
    stream->tx.ahead -= (uint32_t)frame->len;
    stream->tx.sent -= frame->len;
    stream->tx.deficit += (int32_t)(SESSION_HEADER_LEN + frame->len);
    list_remove(&stream->active);
    list_prepend(&tx->active, &stream->active);
}

void transmitter_abandon(struct ob_session *session)
{
    while (session->tx.planned_count)
        unplan(session);
}

void transmitter_reset(struct ob_session *session)
{
    struct transmitter *tx = &session->tx;
    tx->pending = 0;
    tx->partial_done = 0;
    tx->lane_len = tx->lane_done = 0;
    if (tx->line)
        line_out_reset(tx->line);
}

/* Whether there is a frame to encode. */
static bool frames_wait(const struct ob_session *session)
{
    return control_waits(session) ||
           (session->state == SESSION_UP && !list_empty(&session->tx.active));
}

bool transmitter_has_output(const struct ob_session *session)
{
    const struct transmitter *tx = &session->tx;
    const uint8_t *bytes;
    return tx->partial_done || frames_wait(session) ||
           (tx->line && line_out_waiting(tx->line, &bytes));
}

static size_t shorter(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The payload of the stream's next frame: contiguous, within its credit and the frame limit. */
static size_t next_payload(const struct ob_stream *stream, const uint8_t **ret_payload)
{
    const struct stream_tx *tx = &stream->tx;
    size_t len;
    if (tx->lent_len) {
        *ret_payload = tx->lent + tx->ahead;
        len = tx->lent_len - tx->ahead;
    } else {
        len = chain_peek(&tx->unsent, tx->ahead, ret_payload);
    }
    if (len > tx->limit - tx->sent)
        len = (size_t)(tx->limit - tx->sent);
    return shorter(len, on_line(stream->session) ? LIMIT_SESSION_LINE_DATA : LIMIT_SESSION_DATA);
}

static void emit(struct ob_session *session, struct ob_stream *stream, const uint8_t *payload,
                 size_t len)
{
    struct data_frame *frame = &session->tx.planned[session->tx.planned_count++];
    struct session_header header = {
        .type = SESSION_DATA, .len = (uint16_t)len, .stream = stream->id};
    header_next(session, &header, frame->head);
    frame->stream = stream;
    frame->payload = payload;
    frame->len = len;
    stream->tx.deficit -= (int32_t)(SESSION_HEADER_LEN + len);
    stream->tx.ahead += (uint32_t)len;
    stream->tx.sent += len;
    stream_schedule(stream);
}

/* Plans the next DATA frame; false when no stream has data and credit. */
static bool plan(struct ob_session *session)
{
    struct list *active = &session->tx.active;
    if (session->state != SESSION_UP || session->tx.pending)
        return false;
    while (!list_empty(active)) {
        struct ob_stream *stream = list_entry(active->next, struct ob_stream, active);
        const uint8_t *payload;
        size_t len = next_payload(stream, &payload);
        if (stream->tx.deficit >= (int32_t)(SESSION_HEADER_LEN + len)) {
            emit(session, stream, payload, len);
            return true;
        }
        stream->tx.deficit += QUANTUM;
        list_remove(&stream->active);
        list_append(active, &stream->active);
    }
    return false;
}

static void notify(struct ob_stream *stream)
{
    struct stream_tx *tx = &stream->tx;
    bool back = tx->want_back && !tx->lent_len;
    bool roomy =
        tx->want_room && stream_room(stream) >= (stream->session->config.send_buffer + 1) / 2;
    if (!back && !roomy)
        return;
    tx->want_back = tx->want_room = false;
    if (!stream->orphan && list_empty(&stream->notify))
        list_append(&stream->session->tx.notify, &stream->notify);
}

/* All of the frame went: its payload is done with. */
static void commit(const struct data_frame *frame)
{
    struct ob_stream *stream = frame->stream;
    if (!stream)
        return;
    struct stream_tx *tx = &stream->tx;
    tx->ahead -= frame->len;
    if (tx->lent_len) {
        tx->lent += frame->len;
        tx->lent_len -= frame->len;
    } else {
        chain_consume(&tx->unsent, frame->len);
    }
    notify(stream);
    stream_finish(stream);
}

static int span(struct iovec *iov, int count, const uint8_t *bytes, size_t len)
{
    if (!len)
        return count;
    iov[count] = (struct iovec){.iov_base = (void *)bytes, .iov_len = len};
    return count + 1;
}

static int gather_partial(const struct transmitter *tx, struct iovec *iov)
{
    size_t done = tx->partial_done;
    size_t head = shorter(done, SESSION_HEADER_LEN);
    int count = span(iov, 0, tx->partial.head + head, SESSION_HEADER_LEN - head);
    return span(iov, count, tx->partial.payload + done - head, tx->partial.len - (done - head));
}

static int gather(struct ob_session *session, struct iovec *iov, int iov_max)
{
    struct transmitter *tx = &session->tx;
    /* First, for it may free a stream, and so move the payload of the partial frame. */
    control_fill(session);
    int count = tx->partial_done ? gather_partial(tx, iov) : 0;
    if (count == iov_max)
        return count;
    count = span(iov, count, tx->lane, tx->lane_len);
    while (count + 2 <= iov_max && tx->planned_count < LIMIT_SESSION_BATCH && plan(session)) {
        const struct data_frame *frame = &tx->planned[tx->planned_count - 1];
        count = span(iov, count, frame->head, SESSION_HEADER_LEN);
        count = span(iov, count, frame->payload, frame->len);
    }
    return count;
}

static void lane_to_line(struct transmitter *tx)
{
    for (size_t at = 0; at < tx->lane_len;) {
        struct session_header header = session_header_get(tx->lane + at);
        line_out_frame(tx->line, tx->lane + at, tx->lane + at + SESSION_HEADER_LEN, header.len);
        at += SESSION_HEADER_LEN + header.len;
    }
    tx->lane_len = 0;
}

static void data_to_line(struct transmitter *tx)
{
    const struct data_frame *frame = &tx->planned[0];
    line_out_frame(tx->line, frame->head, frame->payload, frame->len);
    tx->planned_count = 0;
    commit(frame);
}

static int gather_line(struct ob_session *session, struct iovec *iov)
{
    struct transmitter *tx = &session->tx;
    const uint8_t *bytes;
    size_t len = line_out_waiting(tx->line, &bytes);
    if (!len) {
        do {
            control_fill(session);
            lane_to_line(tx);
            if (!line_out_full(tx->line) && plan(session))
                data_to_line(tx);
        } while (!line_out_full(tx->line) && frames_wait(session));
        len = line_out_waiting(tx->line, &bytes);
    }
    return span(iov, 0, bytes, len);
}

int transmitter_gather(struct ob_session *session, struct iovec *iov, int iov_max)
{
    assert(iov_max >= 2 && !session->tx.planned_count);
    return session->tx.line ? gather_line(session, iov) : gather(session, iov, iov_max);
}

/* Counts len bytes off the partial frame. Returns how many; *ret_whole says if it is all sent. */
static size_t settle_partial(struct transmitter *tx, size_t len, bool *ret_whole)
{
    size_t whole = SESSION_HEADER_LEN + tx->partial.len;
    size_t some = tx->partial_done ? shorter(len, whole - tx->partial_done) : 0;
    tx->partial_done += some;
    *ret_whole = tx->partial_done == whole && some;
    if (*ret_whole)
        tx->partial_done = 0;
    return some;
}

static size_t settle_lane(struct transmitter *tx, size_t len)
{
    size_t some = shorter(len, tx->lane_len - tx->lane_done);
    tx->lane_done += some;
    return some;
}

/*
 * Counts off len bytes that went, frame by frame. The rest is taken back before the sent part
 * is committed: a stream has its last byte on its way only if none is taken back.
 */
static void settle_frames(struct ob_session *session, size_t len)
{
    struct transmitter *tx = &session->tx;
    struct data_frame finished = tx->partial;
    bool partial_went;
    int went = 0;
    len -= settle_partial(tx, len, &partial_went);
    len -= settle_lane(tx, len);
    while (went < tx->planned_count && len >= SESSION_HEADER_LEN + tx->planned[went].len)
        len -= SESSION_HEADER_LEN + tx->planned[went++].len;
    if (len) {
        assert(went < tx->planned_count); /* more was reported than given */
        tx->partial = tx->planned[went];
        tx->partial_done = len;
    }
    while (tx->planned_count > went + (len ? 1 : 0))
        unplan(session);
    tx->planned_count = 0;
    if (partial_went)
        commit(&finished);
    for (int i = 0; i < went; i++)
        commit(&tx->planned[i]);
}

void transmitter_settle(struct ob_session *session, size_t len)
{
    if (session->tx.line)
        line_out_sent(session->tx.line, len);
    else
        settle_frames(session, len);
}
