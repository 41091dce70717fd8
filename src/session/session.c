// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of an engine: made, its channel up and down, the clock, its end. The states and who
 * moves between them are drawn in session.h.
 */
#include "session/session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_WINDOW      (256u << 10)
#define DEFAULT_SEND_BUFFER (64u << 10)
#define DEFAULT_MAX_STREAMS 1024

static_assert(OB_SESSION_SERVICE_MAX == LIMIT_SESSION_SERVICE_BYTES, "one bound, two names");
static_assert(OB_SESSION_METADATA_MAX == LIMIT_SESSION_METADATA_BYTES, "one bound, two names");

static bool within(uint32_t value, uint32_t most)
{
    return value >= 1 && value <= most;
}

/* Fills the defaults in; -EINVAL when a value is out of bounds. */
static int complete(struct ob_session_config *config)
{
    if (!config->window)
        config->window = DEFAULT_WINDOW;
    if (!config->send_buffer)
        config->send_buffer = DEFAULT_SEND_BUFFER;
    if (!config->max_streams)
        config->max_streams = DEFAULT_MAX_STREAMS;
    bool sane = config->random && within(config->window, LIMIT_SESSION_WINDOW) &&
                within(config->send_buffer, LIMIT_SESSION_WINDOW) &&
                within(config->max_streams, LIMIT_SESSION_STREAMS) &&
                (config->channel == OB_CHANNEL_STREAM || config->channel == OB_CHANNEL_LINE) &&
                (config->key || config->key_len == 0) && /* else it would go without a key */
                (!config->key ||
                 (config->key_len >= OB_SESSION_KEY_MIN && config->key_len <= OB_SESSION_KEY_MAX));
    return sane ? 0 : -EINVAL;
}

int ob_session_new(const struct ob_session_config *config, struct ob_session **ret_session)
{
    if (!config || !ret_session)
        return -EINVAL;
    struct ob_session_config completed = *config;
    if (complete(&completed) < 0)
        return -EINVAL;
    struct ob_session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->config = completed;
    if (completed.key) {
        memcpy(session->key, completed.key, completed.key_len);
        session->config.key = session->key;
    }
    liveness_reset(session);
    if (streams_init(session) < 0 || receiver_init(session) < 0 || transmitter_init(session) < 0) {
        ob_session_free(session);
        return -ENOMEM;
    }
    *ret_session = session;
    return 0;
}

void ob_session_free(struct ob_session *session)
{
    if (!session)
        return;
    streams_done(session);
    transmitter_done(session);
    receiver_done(session);
    explicit_bzero(session, sizeof(*session));
    free(session);
}

void session_enter(struct ob_session *session, uint64_t now_ns)
{
    liveness_advance(session, now_ns);
    session->depth++;
}

void session_leave(struct ob_session *session)
{
    if (--session->depth == 0)
        streams_free_freed(session);
}

void session_over(struct ob_session *session, uint32_t reason, bool farewell)
{
    if (session->state != SESSION_UP)
        return;
    if (farewell)
        control_bye(session, reason);
    session->state = SESSION_CLOSED;
    session->handshake.tag = 0;
    control_reset(session);
    while (!list_empty(&session->streams.live)) {
        struct ob_stream *stream = list_entry(session->streams.live.next, struct ob_stream, all);
        stream_answered(stream);
        stream_detach(stream, reason);
        if (stream->orphan)
            stream_release(stream);
        else
            TELL(session, reset, stream, reason);
    }
    TELL(session, ended, reason);
}

int session_greet(struct ob_session *session)
{
    session->state = SESSION_GREETING;
    return handshake_begin(session);
}

int session_violation(struct ob_session *session, int code, uint32_t reason, const char *format,
                      ...)
{
    char text[OB_FAULT_TEXT_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    session->fault.code = 0;
    ob_fault_set(&session->fault, code, "%s", text);
    bool stood = session->state == SESSION_UP;
    session_over(session, reason, true);
    if (!on_line(session)) {
        session->state = SESSION_CLOSED;
        session->broken = code;
        session->tx.pending = 0;
    } else if (stood) {
        session_greet(session);
    }
    return code;
}

int ob_session_transport_up(struct ob_session *session, uint64_t now_ns)
{
    ob_session_transport_down(session, now_ns);
    session_enter(session, now_ns);
    int result = session_greet(session);
    if (result < 0)
        session->state = SESSION_DOWN;
    session_leave(session);
    return result;
}

void ob_session_transport_down(struct ob_session *session, uint64_t now_ns)
{
    session_enter(session, now_ns);
    transmitter_abandon(session);
    session_over(session, OB_REASON_TRANSPORT, false);
    session->state = SESSION_DOWN;
    session->broken = 0;
    transmitter_reset(session);
    receiver_reset(session);
    session_leave(session);
}

void ob_session_end(struct ob_session *session, uint32_t reason, uint64_t now_ns)
{
    session_enter(session, now_ns);
    session_over(session, reason, true);
    if (session->state != SESSION_DOWN)
        session->state = SESSION_CLOSED;
    session->tx.pending = 0;
    session_leave(session);
}

void ob_session_tick(struct ob_session *session, uint64_t now_ns)
{
    session_enter(session, now_ns);
    handshake_tick(session);
    liveness_tick(session);
    session_leave(session);
}

uint64_t ob_session_deadline(const struct ob_session *session)
{
    uint64_t deadline = liveness_deadline(session);
    bool greets = session->state == SESSION_GREETING && on_line(session);
    if (greets && session->handshake.hello_at < deadline)
        deadline = session->handshake.hello_at;
    return deadline;
}

void ob_session_go_away(struct ob_session *session, uint32_t reason)
{
    session->going_away = true;
    session->tx.goaway_reason = reason;
    if (session->state == SESSION_UP)
        session->tx.pending |= PENDING_GOAWAY;
}

uint64_t ob_session_tag(const struct ob_session *session)
{
    return session->handshake.tag;
}

const struct ob_fault *ob_session_fault(const struct ob_session *session)
{
    return &session->fault;
}

void ob_session_stats(const struct ob_session *session, struct ob_session_stats *ret_stats)
{
    *ret_stats = session->stats;
    ret_stats->streams = session->streams.count;
    const struct list *live = &session->streams.live;
    for (struct list *link = live->next; link != live; link = link->next) {
        const struct ob_stream *stream = list_entry(link, struct ob_stream, all);
        ret_stats->buffered_bytes += chain_memory(&stream->rx.unread);
        ret_stats->buffered_bytes += chain_memory(&stream->tx.unsent);
        if (stream_waiting(stream) && stream->tx.sent == stream->tx.limit)
            ret_stats->streams_blocked++;
    }
}
