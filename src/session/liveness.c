// SPDX-License-Identifier: BSD-3-Clause
/*
 * Liveness: the round trip, silence, and the tail of a raw line.
 *
 * Silence alone never ends a session unless the configuration says so. It is counted in steps of at
 * most a second between two looks at the clock, so that a process that was stopped, with its VM or
 * by a signal, does not take the gap for silence of its peer.
 *
 * A raw line can lose the last frames before a pause, and nobody would ever know: a lost frame is
 * noticed by the number of the next one. So a PING follows the last frame after a while, and again,
 * until a PONG says that everything before it has arrived. To a peer that is paused this continues,
 * until the channel is full: a few bytes per second that nobody reads.
 */
#include "session/liveness.h"
#include "session/session.h"
#include "session/verdict.h"

#include <errno.h>

#define PROBE_INTERVAL_NS     100000000ull
#define PROBE_INTERVAL_MAX_NS 400000000ull

void liveness_reset(struct ob_session *session)
{
    session->live = (struct liveness){
        .now = session->live.now,
        .ping_value = session->live.ping_value,
        .probe_at = OB_SESSION_NEVER,
        .probe_interval = PROBE_INTERVAL_NS,
    };
}

void liveness_advance(struct ob_session *session, uint64_t now_ns)
{
    struct liveness *live = &session->live;
    if (now_ns <= live->now)
        return;
    uint64_t step = now_ns - live->now;
    live->silent_ns += step < LIMIT_SESSION_CLOCK_STEP_NS ? step : LIMIT_SESSION_CLOCK_STEP_NS;
    live->now = now_ns;
}

void liveness_heard(struct ob_session *session)
{
    session->live.silent_ns = 0;
    session->live.keepalive = false;
}

/* A frame of the session was encoded. */
void liveness_sent(struct ob_session *session, uint8_t type)
{
    struct liveness *live = &session->live;
    if (type == SESSION_PING) {
        live->ping_out = true;
        live->ping_sent_at = live->now;
        live->tail_covered = true;
    } else if (type != SESSION_PONG && on_line(session)) {
        live->tail_covered = false;
        if (live->probe_at == OB_SESSION_NEVER)
            live->probe_at = live->now + live->probe_interval;
    }
}

void liveness_pong(struct ob_session *session, uint64_t value)
{
    struct liveness *live = &session->live;
    if (!live->ping_out || value != live->ping_value)
        return;
    live->ping_out = false;
    session->stats.round_trip_ns = live->now - live->ping_sent_at;
    live->probe_interval = PROBE_INTERVAL_NS;
    bool at_risk = live->probe_at != OB_SESSION_NEVER && !live->tail_covered;
    live->probe_at = at_risk ? live->now + live->probe_interval : OB_SESSION_NEVER;
    if (live->ping_asked) {
        live->ping_asked = false;
        TELL(session, pong, session->stats.round_trip_ns);
    }
}

/* PING is owed; it carries a new value each time that it is encoded. */
static void owe_ping(struct ob_session *session)
{
    if (!(session->tx.pending & PENDING_PING))
        session->live.ping_value++;
    session->tx.pending |= PENDING_PING;
}

int ob_session_ping(struct ob_session *session, uint64_t now_ns)
{
    if (session->state != SESSION_UP)
        return -ENOTCONN;
    if (session->live.ping_asked)
        return -EBUSY;
    liveness_advance(session, now_ns);
    session->live.ping_asked = true;
    owe_ping(session);
    return 0;
}

static void probe_tail(struct ob_session *session)
{
    struct liveness *live = &session->live;
    if (live->now < live->probe_at)
        return;
    owe_ping(session);
    if (live->probe_interval < PROBE_INTERVAL_MAX_NS)
        live->probe_interval *= 2;
    live->probe_at = live->now + live->probe_interval;
}

static enum verdict count_silence(struct ob_session *session)
{
    struct liveness *live = &session->live;
    const struct ob_session_config *config = &session->config;
    if (config->idle_timeout_ns && live->silent_ns >= config->idle_timeout_ns)
        return verdict_over(session, OB_REASON_TIMEOUT, true);
    if (config->keepalive_ns && live->silent_ns >= config->keepalive_ns && !live->keepalive) {
        live->keepalive = true;
        owe_ping(session);
    }
    return VERDICT_GO_ON;
}

enum verdict liveness_tick(struct ob_session *session)
{
    if (session->state != SESSION_UP)
        return VERDICT_GO_ON;
    probe_tail(session);
    return count_silence(session);
}

static uint64_t sooner(uint64_t deadline, uint64_t now, uint64_t silent, uint64_t limit)
{
    if (!limit)
        return deadline;
    uint64_t left = silent < limit ? limit - silent : 0;
    uint64_t step = left < LIMIT_SESSION_CLOCK_STEP_NS ? left : LIMIT_SESSION_CLOCK_STEP_NS;
    return now + step < deadline ? now + step : deadline;
}

uint64_t liveness_deadline(const struct ob_session *session)
{
    const struct liveness *live = &session->live;
    if (session->state != SESSION_UP)
        return OB_SESSION_NEVER;
    uint64_t deadline = live->probe_at;
    uint64_t keepalive = live->keepalive ? 0 : session->config.keepalive_ns;
    deadline = sooner(deadline, live->now, live->silent_ns, keepalive);
    return sooner(deadline, live->now, live->silent_ns, session->config.idle_timeout_ns);
}
