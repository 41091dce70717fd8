// SPDX-License-Identifier: BSD-3-Clause
#include "session/pair.h"

#include <errno.h>

static void on_up(void *user, uint64_t tag)
{
    struct end *end = user;
    end->tag = tag;
    end->ups++;
}

static void on_ended(void *user, uint32_t reason)
{
    struct end *end = user;
    end->tag = 0;
    end->ends++;
    end->reason = reason;
}

static void on_going_away(void *user, uint32_t reason)
{
    struct end *end = user;
    end->goaways++;
    end->reason = reason;
}

static void on_pong(void *user, uint64_t round_trip_ns)
{
    ((struct end *)user)->pongs++;
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct end *end = user;
    end->opens++;
    end->incoming = stream;
    memcpy(end->service, open->service, open->service_len);
    end->service[open->service_len] = 0;
    if (end->accepts)
        assert_int_equal(ob_stream_accept(stream), 0);
}

static void on_opened(void *user, struct ob_stream *stream)
{
    ((struct end *)user)->opened++;
}

static void on_refused(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct end *end = user;
    end->refused++;
    end->reason = reason;
}

static void on_readable(void *user, struct ob_stream *stream)
{
    struct end *end = user;
    const void *bytes;
    ssize_t len;
    end->readable++;
    while (end->eats && (len = ob_stream_peek(stream, &bytes)) > 0) {
        ob_stream_consume(stream, (size_t)len);
        end->eaten += (uint64_t)len;
    }
}

static void on_writable(void *user, struct ob_stream *stream)
{
    ((struct end *)user)->writable++;
}

// cppcheck-suppress constParameter ; the type is that of every event
static void on_finished(void *user, struct ob_stream *stream)
{
    struct end *end = user;
    end->finished++;
}

// cppcheck-suppress constParameter ; the type is that of every event
static void on_reset(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct end *end = user;
    end->resets++;
    end->reason = reason;
    if (end->dependent != stream)
        ob_stream_free(end->dependent);
    end->dependent = NULL;
}

static int pseudo_random(void *user, void *bytes, size_t len)
{
    struct end *end = user;
    for (size_t i = 0; i < len; i++) {
        end->random_state = end->random_state * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)bytes)[i] = (uint8_t)(end->random_state >> 56);
    }
    return 0;
}

static int make(struct end *end, const struct ob_session_config *config)
{
    struct ob_session_config own = *config;
    own.user = end;
    own.size = sizeof(own);
    own.random = pseudo_random;
    own.events = (struct ob_session_events){
        .up = on_up,
        .ended = on_ended,
        .going_away = on_going_away,
        .pong = on_pong,
        .incoming = on_incoming,
        .opened = on_opened,
        .refused = on_refused,
        .readable = end->asks ? NULL : on_readable,
        .writable = on_writable,
        .finished = on_finished,
        .reset = on_reset,
    };
    return ob_session_new(&own, &end->session);
}

static void pair_make(struct pair *pair, const struct ob_session_config *a,
                      const struct ob_session_config *b, bool asks)
{
    *pair = (struct pair){.now = 1000 * MS};
    for (int i = 0; i < 2; i++) {
        pair->ends[i].random_state = (uint64_t)i + 1;
        pair->ends[i].accepts = true;
        pair->ends[i].asks = asks;
        assert_int_equal(make(&pair->ends[i], i ? b : a), 0);
    }
}

void pair_new(struct pair *pair, const struct ob_session_config *a,
              const struct ob_session_config *b)
{
    pair_make(pair, a, b, false);
}

static void stand(struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(ob_session_transport_up(pair->ends[i].session, pair->now), 0);
    pair_run(pair);
    assert_true(pair_stands(pair));
}

void pair_up(struct pair *pair, struct ob_session_config config)
{
    pair_new(pair, &config, &config);
    stand(pair);
}

void pair_up_asking(struct pair *pair, struct ob_session_config config)
{
    pair_make(pair, &config, &config, true);
    stand(pair);
}

void pair_free(struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        ob_session_free(pair->ends[i].session);
}

void end_restart(struct pair *pair, int which, const struct ob_session_config *config)
{
    struct end *end = &pair->ends[which];
    ob_session_free(end->session);
    end->tag = 0;
    end->incoming = NULL;
    assert_int_equal(make(end, config), 0);
    assert_int_equal(ob_session_transport_up(end->session, pair->now), 0);
}

static size_t copy_out(const struct iovec *iov, int count, uint8_t *bytes, size_t len)
{
    size_t done = 0;
    for (int i = 0; i < count && done < len; i++) {
        size_t some = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
        memcpy(bytes + done, iov[i].iov_base, some);
        done += some;
    }
    return done;
}

size_t end_take(struct pair *pair, int which, uint8_t *bytes, size_t len)
{
    struct ob_session *session = pair->ends[which].session;
    size_t done = 0;
    while (done < len && ob_session_has_output(session)) {
        struct iovec iov[8];
        int count = ob_session_transmit(session, iov, 8, pair->now);
        assert_true(count > 0);
        size_t some = copy_out(iov, count, bytes + done, len - done);
        ob_session_transmitted(session, (ssize_t)some);
        done += some;
    }
    return done;
}

int end_give(struct pair *pair, int which, const void *bytes, size_t len)
{
    struct end *end = &pair->ends[which];
    if (!end->asks)
        return ob_session_receive(end->session, bytes, len, pair->now);
    int result = ob_session_receive_lent(end->session, bytes, len, pair->now);
    for (struct ob_stream *stream; (stream = ob_session_next_readable(end->session));)
        on_readable(end, stream);
    return result;
}

void pair_run(struct pair *pair)
{
    uint8_t bytes[8192];
    size_t step = pair->step ? pair->step : sizeof(bytes);
    size_t moved = 1;
    while (moved) {
        moved = 0;
        for (int i = 0; i < 2; i++) {
            size_t len = end_take(pair, i, bytes, step);
            assert_int_equal(end_give(pair, !i, bytes, len), 0);
            moved += len;
        }
    }
}

bool pair_stands(const struct pair *pair)
{
    return pair->ends[0].tag && pair->ends[0].tag == pair->ends[1].tag;
}

bool pair_settle(struct pair *pair, uint64_t limit_ns)
{
    uint64_t end = pair->now + limit_ns;
    pair_run(pair);
    while (!pair_stands(pair) && pair->now < end) {
        pair->now += 10 * MS;
        for (int i = 0; i < 2; i++)
            ob_session_tick(pair->ends[i].session, pair->now);
        pair_run(pair);
    }
    return pair_stands(pair);
}

void pair_open(struct pair *pair, int from, struct ob_stream **ret_here,
               struct ob_stream **ret_there)
{
    unsigned int opened = pair->ends[from].opened;
    assert_int_equal(ob_stream_open(pair->ends[from].session, "echo", 4, NULL, 0, ret_here), 0);
    pair_run(pair);
    assert_int_equal(pair->ends[from].opened, opened + 1);
    *ret_there = pair->ends[!from].incoming;
    assert_true(ob_stream_id(*ret_here) == ob_stream_id(*ret_there));
}
