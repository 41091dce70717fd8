// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reading and writing a stream. Nothing here calls back, and nothing waits: bytes that cannot go now are
 * kept within their bound, or not taken.
 */
#include "session/queues.h"
#include "session/session.h"
#include "session/streams.h"
#include "session/unread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct open_request *request_new(const char *service, size_t service_len,
                                        const void *metadata, size_t metadata_len)
{
    struct open_request *request = malloc(sizeof(*request) + service_len + metadata_len);
    if (!request)
        return NULL;
    request->service_len = service_len;
    request->metadata_len = metadata_len;
    memcpy(request->bytes, service, service_len);
    if (metadata_len)
        memcpy(request->bytes + service_len, metadata, metadata_len);
    return request;
}

int ob_stream_open(struct ob_session *session, const char *service, size_t service_len,
                   const void *metadata, size_t metadata_len, struct ob_stream **ret_stream)
{
    if (session->state != SESSION_UP)
        return -ENOTCONN;
    if (!service || (!metadata && metadata_len > 0) || service_len < 1 ||
        service_len > OB_SESSION_SERVICE_MAX || metadata_len > OB_SESSION_METADATA_MAX)
        return -EINVAL;
    if (session->peer_going_away)
        return -ESHUTDOWN;
    uint32_t most = session->handshake.peer.max_streams;
    if (session->streams.ours >= (most < LIMIT_SESSION_STREAMS ? most : LIMIT_SESSION_STREAMS))
        return -EAGAIN;
    struct open_request *request = request_new(service, service_len, metadata, metadata_len);
    struct ob_stream *stream = request ? stream_new(session, STREAM_OPENING) : NULL;
    if (!stream) {
        free(request);
        return -ENOMEM;
    }
    stream->request = request;
    stream->rx.limit = session->config.window;
    list_append(&session->tx.opening, &stream->control);
    *ret_stream = stream;
    return 0;
}

int ob_stream_accept(struct ob_stream *stream)
{
    if (stream->state == STREAM_OVER)
        return -ECONNRESET;
    if (stream->state != STREAM_INCOMING)
        return -EALREADY;
    stream->state = STREAM_OPEN;
    stream->rx.limit = stream->session->config.window;
    stream_owe(stream, PENDING_ACCEPT);
    stream_schedule(stream);
    stream_finish(stream);
    return 0;
}

void ob_stream_refuse(struct ob_stream *stream, uint32_t reason)
{
    ob_stream_reset(stream, reason);
}

ssize_t ob_stream_peek(struct ob_stream *stream, const void **ret_bytes)
{
    if (stream->state == STREAM_OVER)
        return -ECONNRESET;
    size_t len = unread_peek(stream, (const uint8_t **)ret_bytes);
    if (len)
        return (ssize_t)len;
    return stream->rx.ended ? 0 : -EAGAIN;
}

int ob_stream_peek_spans(struct ob_stream *stream, struct iovec *iov, int iov_max)
{
    if (stream->state == STREAM_OVER)
        return -ECONNRESET;
    int count = unread_spans(stream, iov, iov_max);
    if (count)
        return count;
    return stream->rx.ended ? 0 : -EAGAIN;
}

/* Credit goes back in halves of the window: few frames, and the peer never runs dry meanwhile. */
static void give_credit(struct ob_stream *stream)
{
    uint32_t window = stream->session->config.window;
    uint64_t grant = stream->rx.consumed + window - stream->rx.limit;
    if (!stream->rx.ended && grant >= (window > 1 ? window / 2 : 1))
        stream_owe(stream, PENDING_CREDIT);
}

void ob_stream_consume(struct ob_stream *stream, size_t len)
{
    if (stream->state == STREAM_OVER || !len)
        return;
    unread_consume(stream, len);
    stream->rx.consumed += len;
    give_credit(stream);
    stream_confirm_end(stream);
}

ssize_t ob_stream_read(struct ob_stream *stream, void *bytes, size_t len)
{
    size_t done = 0;
    if (!bytes && len > 0)
        return -EINVAL;
    for (;;) {
        const void *from;
        ssize_t there = ob_stream_peek(stream, &from);
        if (there <= 0 || done == len)
            return done ? (ssize_t)done : there < 0 ? there : 0;
        size_t some = (size_t)there < len - done ? (size_t)there : len - done;
        memcpy((uint8_t *)bytes + done, from, some);
        ob_stream_consume(stream, some);
        done += some;
    }
}

/* The errno that forbids writing, or 0. */
static int unwritable(const struct ob_stream *stream)
{
    if (stream->state == STREAM_OVER)
        return -ECONNRESET;
    return stream->tx.ending ? -EPIPE : 0;
}

ssize_t ob_stream_write(struct ob_stream *stream, const void *bytes, size_t len)
{
    int error = unwritable(stream);
    if (error)
        return error;
    if (stream->tx.lent_len)
        return -EBUSY;
    if (!bytes && len > 0)
        return -EINVAL;
    size_t room = stream_room(stream);
    size_t taken = len < room ? len : room;
    if (chain_append(&stream->tx.unsent, bytes, taken) < 0)
        return -ENOMEM;
    stream->tx.want_room = taken < len;
    stream_schedule(stream);
    return (ssize_t)taken;
}

int ob_stream_lend(struct ob_stream *stream, const void *bytes, size_t len)
{
    int error = unwritable(stream);
    if (error)
        return error;
    if (!len || !bytes)
        return -EINVAL;
    if (stream->tx.lent_len)
        return -EAGAIN;
    if (stream->tx.unsent.len) {
        stream->tx.want_room = true;
        return -EAGAIN;
    }
    stream->tx.lent = bytes;
    stream->tx.lent_len = len;
    stream->tx.want_back = true;
    stream_schedule(stream);
    return 0;
}

int ob_stream_shutdown(struct ob_stream *stream)
{
    if (stream->state == STREAM_OVER)
        return -ECONNRESET;
    stream->tx.ending = true;
    stream_finish(stream);
    return 0;
}

/* Whether both directions had their end, so that nothing is lost when the owner leaves. */
static bool orderly(const struct ob_stream *stream)
{
    return stream->state == STREAM_OPEN && stream->tx.ending && stream->rx.ended &&
           !unread_any(stream) && !stream->tx.lent_len;
}

void ob_stream_reset(struct ob_stream *stream, uint32_t reason)
{
    if (!stream)
        return;
    bool close = orderly(stream);
    if (stream->state != STREAM_OVER && !close)
        stream_kill(stream, reason ? reason : OB_REASON_CANCELLED);
    if (close ? stream->tx.ended : !stream->pending)
        stream_release(stream);
    else
        stream->orphan = true;
}

void ob_stream_free(struct ob_stream *stream)
{
    ob_stream_reset(stream, OB_REASON_NONE);
}

void *ob_stream_user(const struct ob_stream *stream)
{
    return stream->user;
}

void ob_stream_set_user(struct ob_stream *stream, void *user)
{
    stream->user = user;
}

struct ob_session *ob_stream_session(const struct ob_stream *stream)
{
    return stream->session;
}

uint64_t ob_stream_id(const struct ob_stream *stream)
{
    return stream->id;
}

uint32_t ob_stream_reason(const struct ob_stream *stream)
{
    return stream->state == STREAM_OVER ? stream->reason : OB_REASON_NONE;
}

void ob_stream_stats(const struct ob_stream *stream, struct ob_stream_stats *ret_stats)
{
    size_t ahead = stream->tx.ahead;
    *ret_stats = (struct ob_stream_stats){
        .bytes_received = stream->rx.received,
        .bytes_sent = stream->tx.sent,
        .unread = stream->rx.received - stream->rx.consumed,
        .unsent = stream_waiting(stream) + ahead,
        .credit = stream->tx.limit - stream->tx.sent,
        .window = stream->rx.limit - stream->rx.received,
        .ended = stream->rx.ended,
    };
}
