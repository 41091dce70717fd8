// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of an engine: made, its channel up and down, bytes in and out, the clock, its end. The
 * states are drawn in session.h. All moves between them are made here, as the verdicts of the parts
 * ask for.
 */
#include "session/session.h"
#include "base/sized.h"
#include "session/control.h"
#include "session/handshake.h"
#include "session/liveness.h"
#include "session/queues.h"
#include "session/receive.h"
#include "session/streams.h"
#include "session/transmit.h"

#include <assert.h>
#include <errno.h>
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
    struct ob_session_config completed;
    if (!config || !ret_session)
        return -EINVAL;
    int err = sized_copy(config, SIZED_UP_TO(struct ob_session_config, idle_timeout_ns), &completed,
                         sizeof(completed), "ob_session_config", NULL);
    if (err == 0)
        err = complete(&completed);
    if (err < 0)
        return err;
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

/* Brackets everything that calls back; the last leave releases the memory of streams that callbacks have freed. */
static void enter(struct ob_session *session, uint64_t now_ns)
{
    liveness_advance(session, now_ns);
    session->depth++;
}

static void leave(struct ob_session *session)
{
    if (--session->depth == 0)
        streams_free_freed(session);
}

/*
 * Ends the session that stands, resets its streams, and says BYE when `farewell`. The next step is
 * greet(), stand() or SESSION_CLOSED.
 */
static void over(struct ob_session *session, uint32_t reason, bool farewell)
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

/* Begins a new handshake with a new nonce. 0, or the error of random(); then a tick tries again.
 */
static int greet(struct ob_session *session)
{
    session->state = SESSION_GREETING;
    return handshake_begin(session);
}

static void stand(struct ob_session *session)
{
    handshake_stand(session);
    session->state = SESSION_UP;
    session->peer_going_away = false;
    session->rx.seq = 0;
    session->tx.seq = 0;
    session->tx.pending &= PENDING_HELLO_ACK;
    if (session->going_away)
        session->tx.pending |= PENDING_GOAWAY;
    session->stats.sessions++;
    streams_begin(session);
    liveness_reset(session);
    TELL(session, up, session->handshake.tag);
}

/* The peer broke the rules: greets again on a line, closes on a clean channel. Returns the code. */
static int broken(struct ob_session *session, const struct ending *ending)
{
    bool stood = session->state == SESSION_UP;
    over(session, ending->reason, ending->farewell);
    if (!on_line(session)) {
        session->state = SESSION_CLOSED;
        session->broken = ending->code;
        session->tx.pending = 0;
    } else if (stood) {
        greet(session);
    }
    return ending->code;
}

/* No session can stand with this peer: told once per life of it. It is to know, too, so the frames
 * that are owed to it go out before a clean channel is closed. */
static int failed(struct ob_session *session, const struct ending *ending)
{
    struct handshake *handshake = &session->handshake;
    bool news = session->state != SESSION_UP && handshake->failed_nonce != ending->peer_nonce;
    if (session->state == SESSION_GREETING && !on_line(session))
        control_fill(session);
    int code = broken(session, ending);
    handshake->failed_nonce = ending->peer_nonce;
    if (news)
        TELL(session, ended, ending->reason);
    return code;
}

static int restarted(struct ob_session *session)
{
    over(session, OB_REASON_RESTARTED, false);
    return greet(session);
}

/* Does the work that a part has found to be due. 0, or the errno that ob_session_receive() returns. */
static int act(struct ob_session *session, enum verdict verdict)
{
    const struct ending ending = session->ending;
    int err;
    switch (verdict) {
    case VERDICT_GO_ON:
    case VERDICT_SKIP:
        return 0;
    case VERDICT_STANDS:
        stand(session);
        return 0;
    case VERDICT_STRANGER_PROVEN:
        over(session, OB_REASON_RESTARTED, false);
        handshake_change_peer(session);
        stand(session);
        return 0;
    case VERDICT_RESTARTED:
        return restarted(session);
    case VERDICT_NEWCOMER:
        err = restarted(session);
        return err < 0 ? err : act(session, handshake_answer_newcomer(session));
    case VERDICT_OVER:
        over(session, ending.reason, ending.farewell);
        if (on_line(session))
            greet(session);
        return 0;
    case VERDICT_BROKEN:
        return broken(session, &ending);
    case VERDICT_FAILED:
        return failed(session, &ending);
    }
    return 0;
}

static int receive(struct ob_session *session, const void *bytes, size_t len, uint64_t now_ns,
                   bool lent)
{
    const uint8_t *at = bytes;
    int result = 0;
    if (session->broken)
        return session->broken;
    if (!len || session->state == SESSION_DOWN || session->state == SESSION_CLOSED)
        return 0;
    enter(session, now_ns);
    session->stats.bytes_received += len;
    liveness_heard(session);
    streams_keep_unread(session);
    session->rx.lent = lent && !on_line(session); /* a line's frames lie in its decoder */
    while (len && session->state != SESSION_CLOSED && result == 0) {
        enum verdict verdict;
        size_t taken = receiver_take(session, at, len, &verdict);
        at += taken;
        len -= taken;
        result = act(session, verdict);
        if (on_line(session))
            result = 0; /* whatever comes over a line, the hunt for the next HELLO continues */
    }
    leave(session);
    return result;
}

int ob_session_receive(struct ob_session *session, const void *bytes, size_t len, uint64_t now_ns)
{
    return receive(session, bytes, len, now_ns, false);
}

int ob_session_receive_lent(struct ob_session *session, const void *bytes, size_t len,
                            uint64_t now_ns)
{
    return receive(session, bytes, len, now_ns, true);
}

struct ob_stream *ob_session_next_readable(struct ob_session *session)
{
    struct list *readable = &session->rx.readable;
    if (!list_empty(readable))
        return list_entry(list_take(readable), struct ob_stream, readable);
    enter(session, session->live.now);
    streams_keep_unread(session);
    leave(session);
    return NULL;
}

bool ob_session_has_output(const struct ob_session *session)
{
    return transmitter_has_output(session);
}

int ob_session_transmit(struct ob_session *session, struct iovec *iov, int iov_max, uint64_t now_ns)
{
    liveness_advance(session, now_ns);
    return transmitter_gather(session, iov, iov_max);
}

void ob_session_transmitted(struct ob_session *session, ssize_t len)
{
    struct list *notify = &session->tx.notify;
    size_t sent = len > 0 ? (size_t)len : 0;
    enter(session, session->live.now);
    session->stats.bytes_transmitted += sent;
    transmitter_settle(session, sent);
    while (!list_empty(notify)) {
        struct ob_stream *stream = list_entry(notify->next, struct ob_stream, notify);
        list_remove(&stream->notify);
        TELL(session, writable, stream);
    }
    leave(session);
}

int ob_session_transport_up(struct ob_session *session, uint64_t now_ns)
{
    ob_session_transport_down(session, now_ns);
    enter(session, now_ns);
    int result = greet(session);
    if (result < 0)
        session->state = SESSION_DOWN;
    leave(session);
    return result;
}

void ob_session_transport_down(struct ob_session *session, uint64_t now_ns)
{
    enter(session, now_ns);
    transmitter_abandon(session);
    over(session, OB_REASON_TRANSPORT, false);
    session->state = SESSION_DOWN;
    session->broken = 0;
    transmitter_reset(session);
    receiver_reset(session);
    leave(session);
}

void ob_session_end(struct ob_session *session, uint32_t reason, uint64_t now_ns)
{
    enter(session, now_ns);
    over(session, reason, true);
    if (session->state != SESSION_DOWN)
        session->state = SESSION_CLOSED;
    session->tx.pending = 0;
    leave(session);
}

void ob_session_tick(struct ob_session *session, uint64_t now_ns)
{
    enter(session, now_ns);
    handshake_tick(session);
    act(session, liveness_tick(session));
    leave(session);
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
