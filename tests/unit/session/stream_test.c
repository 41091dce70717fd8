// SPDX-License-Identifier: BSD-3-Clause
/* Streams between two well-behaved ends, on both kinds of channel. */
#include "session/pair.h"

#include <errno.h>
#include <stdlib.h>

static const struct ob_session_config clean = {.channel = OB_CHANNEL_STREAM};
static const struct ob_session_config line = {.channel = OB_CHANNEL_LINE};
static const struct ob_session_config *const channels[] = {&clean, &line};

// NOLINTBEGIN(bugprone-macro-parentheses): config is declared here
#define EACH_CHANNEL(config)                                                                       \
    for (int channel_ = 0; channel_ < 2; channel_++)                                               \
        for (const struct ob_session_config *config = channels[channel_]; config; config = NULL)
// NOLINTEND(bugprone-macro-parentheses)

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
}

static void both_ends_see_one_tag(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        pair_up(&pair, *config);
        assert_true(ob_session_tag(pair.ends[0].session) == pair.ends[1].tag);
        assert_int_equal(pair.ends[0].ups, 1);
        assert_int_equal(pair.ends[0].ends, 0);
        pair_free(&pair);
    }
}

static void carries_service_and_metadata(void **state)
{
    struct pair pair;
    struct ob_stream *stream;
    pair_up(&pair, clean);
    assert_int_equal(ob_stream_open(pair.ends[0].session, "tcp:host:80", 11, "meta", 4, &stream),
                     0);
    pair_run(&pair);
    assert_string_equal(pair.ends[1].service, "tcp:host:80");
    assert_int_equal(pair.ends[0].opened, 1);
    pair_free(&pair);
}

static void bytes_that_are_not_there_are_refused(void **state)
{
    struct pair pair;
    struct ob_stream *here, *there;
    pair_up(&pair, clean);
    pair_open(&pair, 0, &here, &there);
    assert_int_equal(ob_stream_write(here, NULL, 1), -EINVAL);
    assert_int_equal(ob_stream_lend(here, NULL, 1), -EINVAL);
    assert_int_equal(ob_stream_read(here, NULL, 1), -EINVAL);
    assert_int_equal(ob_stream_write(here, NULL, 0), 0);
    pair_free(&pair);
}

static void open_refuses_bad_lengths(void **state)
{
    struct pair pair;
    struct ob_stream *stream = NULL;
    char text[OB_SESSION_METADATA_MAX + 1] = {'x'};
    pair_up(&pair, clean);
    struct ob_session *session = pair.ends[0].session;
    assert_int_equal(ob_stream_open(session, "", 0, NULL, 0, &stream), -EINVAL);
    assert_int_equal(ob_stream_open(session, text, OB_SESSION_SERVICE_MAX + 1, NULL, 0, &stream),
                     -EINVAL);
    assert_int_equal(ob_stream_open(session, "a", 1, text, sizeof(text), &stream), -EINVAL);
    assert_int_equal(ob_stream_open(session, NULL, 1, NULL, 0, &stream), -EINVAL);
    assert_int_equal(ob_stream_open(session, "a", 1, NULL, 1, &stream), -EINVAL);
    assert_null(stream);
    memset(text, 'y', sizeof(text));
    assert_int_equal(ob_stream_open(session, text, OB_SESSION_SERVICE_MAX, text,
                                    OB_SESSION_METADATA_MAX, &stream),
                     0);
    pair_run(&pair);
    assert_int_equal(pair.ends[0].opened, 1);
    pair_free(&pair);
}

static void refusal_carries_its_reason(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *stream;
        pair_up(&pair, *config);
        pair.ends[1].accepts = false;
        assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &stream), 0);
        pair_run(&pair);
        ob_stream_refuse(pair.ends[1].incoming, OB_REASON_FORBIDDEN);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].refused, 1);
        assert_int_equal(pair.ends[0].reason, OB_REASON_FORBIDDEN);
        assert_int_equal(ob_stream_reason(stream), OB_REASON_FORBIDDEN);
        assert_int_equal(ob_stream_write(stream, "a", 1), -ECONNRESET);
        ob_stream_free(stream);
        pair_free(&pair);
    }
}

/* Writes len bytes at one end while the other reads them, and compares. */
static void transfer(struct pair *pair, struct ob_stream *from, struct ob_stream *to, size_t len)
{
    uint8_t *sent = malloc(len), *got = malloc(len);
    size_t out = 0, in = 0;
    fill(sent, len);
    while (in < len) {
        ssize_t some = ob_stream_write(from, sent + out, len - out);
        assert_true(some >= 0);
        out += (size_t)some;
        pair_run(pair);
        while ((some = ob_stream_read(to, got + in, len - in)) > 0)
            in += (size_t)some;
        pair_run(pair);
    }
    assert_memory_equal(sent, got, len);
    free(sent);
    free(got);
}

static void carries_bytes_in_steps_of_any_size(void **state)
{
    static const size_t steps[] = {1, 2, 3, 23, 24, 25, 1000, 0};
    EACH_CHANNEL(config)
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct pair pair;
        struct ob_stream *here, *there;
        pair_up(&pair, *config);
        pair.step = steps[i];
        pair_open(&pair, 0, &here, &there);
        transfer(&pair, here, there, 200000);
        transfer(&pair, there, here, 200000);
        pair_free(&pair);
    }
}

static void lends_without_copying(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        static uint8_t sent[300000];
        fill(sent, sizeof(sent));
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        pair.ends[1].eats = true;
        assert_int_equal(ob_stream_lend(here, sent, sizeof(sent)), 0);
        assert_int_equal(ob_stream_lend(here, sent, 1), -EAGAIN);
        assert_int_equal(ob_stream_write(here, sent, 1), -EBUSY);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].writable, 1);
        assert_int_equal(pair.ends[1].eaten, sizeof(sent));
        assert_int_equal(ob_stream_lend(here, sent, 0), -EINVAL);
        pair_free(&pair);
    }
}

static void lending_waits_for_what_was_written(void **state)
{
    struct pair pair;
    struct ob_stream *here, *there;
    pair_up(&pair, clean);
    pair_open(&pair, 0, &here, &there);
    assert_int_equal(ob_stream_write(here, "ab", 2), 2);
    assert_int_equal(ob_stream_lend(here, "cd", 2), -EAGAIN);
    pair_run(&pair);
    assert_int_equal(pair.ends[0].writable, 1);
    assert_int_equal(ob_stream_lend(here, "cd", 2), 0);
    pair_run(&pair);
    char got[5] = {0};
    assert_int_equal(ob_stream_read(there, got, 4), 4);
    assert_string_equal(got, "abcd");
    pair_free(&pair);
}

static void half_close_leaves_the_other_half(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        const void *bytes;
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        assert_int_equal(ob_stream_write(here, "question", 8), 8);
        assert_int_equal(ob_stream_shutdown(here), 0);
        assert_int_equal(ob_stream_shutdown(here), 0);
        assert_int_equal(ob_stream_write(here, "x", 1), -EPIPE);
        assert_int_equal(ob_stream_lend(here, "x", 1), -EPIPE);
        pair_run(&pair);
        assert_int_equal(ob_stream_peek(there, &bytes), 8);
        ob_stream_consume(there, 8);
        assert_int_equal(ob_stream_peek(there, &bytes), 0);
        transfer(&pair, there, here, 100000);
        assert_int_equal(ob_stream_peek(here, &bytes), -EAGAIN);
        assert_int_equal(ob_stream_shutdown(there), 0);
        pair_run(&pair);
        assert_int_equal(ob_stream_peek(here, &bytes), 0);
        ob_stream_free(here);
        ob_stream_free(there);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].resets + pair.ends[1].resets, 0);
        struct ob_session_stats stats;
        ob_session_stats(pair.ends[0].session, &stats);
        assert_int_equal(stats.streams, 0);
        assert_int_equal(stats.buffered_bytes, 0);
        pair_free(&pair);
    }
}

static void an_orderly_close_still_sends_what_was_written(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        uint8_t bytes[50000];
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        assert_int_equal(ob_stream_shutdown(there), 0);
        pair_run(&pair);
        assert_int_equal(ob_stream_write(here, bytes, sizeof(bytes)), sizeof(bytes));
        assert_int_equal(ob_stream_shutdown(here), 0);
        ob_stream_free(here);
        pair.ends[1].eats = true;
        pair_run(&pair);
        assert_int_equal(pair.ends[1].eaten, sizeof(bytes));
        assert_int_equal(pair.ends[1].resets, 0);
        assert_int_equal(ob_stream_peek(there, &(const void *){NULL}), 0);
        pair_free(&pair);
    }
}

static void freeing_early_resets(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        ob_stream_free(here);
        pair_run(&pair);
        assert_int_equal(pair.ends[1].resets, 1);
        assert_int_equal(pair.ends[1].reason, OB_REASON_CANCELLED);
        assert_int_equal(ob_stream_peek(there, &(const void *){NULL}), -ECONNRESET);
        ob_stream_free(there);
        pair_free(&pair);
    }
}

/* A reset in the middle of a DATA frame: the frame is finished with the bytes that it announced. */
static void reset_in_mid_frame_keeps_the_framing(void **state)
{
    uint8_t taken[40000];
    for (size_t cut = 1; cut < 20000; cut += 777) {
        struct pair pair;
        struct ob_stream *here, *there;
        uint8_t *lent = malloc(16384);
        memset(lent, 0xa5, 16384);
        pair_up(&pair, clean);
        pair_open(&pair, 0, &here, &there);
        assert_int_equal(ob_stream_lend(here, lent, 16384), 0);
        size_t len = end_take(&pair, 0, taken, cut);
        ob_stream_reset(here, OB_REASON_FAILED);
        free(lent);
        len += end_take(&pair, 0, taken + len, sizeof(taken) - len);
        assert_int_equal(end_give(&pair, 1, taken, len), 0);
        assert_int_equal(pair.ends[1].reason, OB_REASON_FAILED);
        pair_run(&pair);
        assert_true(pair_stands(&pair));
        pair_free(&pair);
    }
}

/* The write failed because the channel is gone: nobody reports how much went. */
static void the_channel_may_go_in_mid_transmit(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        struct iovec iov[8];
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        assert_int_equal(ob_stream_lend(here, "some bytes", 10), 0);
        assert_true(ob_session_transmit(pair.ends[0].session, iov, 8, pair.now) > 0);
        for (int i = 0; i < 2; i++)
            ob_session_transport_down(pair.ends[i].session, pair.now);
        assert_int_equal(pair.ends[0].resets, 1);
        for (int i = 0; i < 2; i++)
            assert_int_equal(ob_session_transport_up(pair.ends[i].session, pair.now), 0);
        assert_true(pair_settle(&pair, 1000 * MS));
        pair_free(&pair);
    }
}

static void writing_before_accept_is_held(void **state)
{
    struct pair pair;
    struct ob_stream *stream;
    pair_up(&pair, clean);
    pair.ends[1].accepts = false;
    assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &stream), 0);
    assert_int_equal(ob_stream_write(stream, "early", 5), 5);
    assert_int_equal(ob_stream_shutdown(stream), 0);
    pair_run(&pair);
    assert_int_equal(pair.ends[1].readable, 0);
    assert_int_equal(ob_stream_accept(pair.ends[1].incoming), 0);
    assert_int_equal(ob_stream_accept(pair.ends[1].incoming), -EALREADY);
    pair_run(&pair);
    char got[8];
    assert_int_equal(ob_stream_read(pair.ends[1].incoming, got, sizeof(got)), 5);
    assert_int_equal(ob_stream_read(pair.ends[1].incoming, got, sizeof(got)), 0);
    pair_free(&pair);
}

static void going_away_refuses_new_streams_only(void **state)
{
    struct pair pair;
    struct ob_stream *here, *there, *late;
    pair_up(&pair, clean);
    pair_open(&pair, 0, &here, &there);
    assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &late), 0);
    ob_session_go_away(pair.ends[1].session, OB_REASON_SHUTDOWN);
    pair_run(&pair);
    assert_int_equal(pair.ends[0].goaways, 1);
    assert_int_equal(pair.ends[0].refused, 1);
    assert_int_equal(pair.ends[0].reason, OB_REASON_SHUTDOWN);
    struct ob_stream *none;
    assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &none), -ESHUTDOWN);
    transfer(&pair, here, there, 1000);
    pair_free(&pair);
}

static void a_farewell_is_heard(void **state)
{
    EACH_CHANNEL(config)
    {
        struct pair pair;
        struct ob_stream *here, *there;
        pair_up(&pair, *config);
        pair_open(&pair, 0, &here, &there);
        ob_session_end(pair.ends[0].session, OB_REASON_SHUTDOWN, pair.now);
        assert_int_equal(ob_stream_reason(here), OB_REASON_SHUTDOWN);
        pair_run(&pair);
        assert_int_equal(pair.ends[1].ends, 1);
        assert_int_equal(pair.ends[1].reason, OB_REASON_SHUTDOWN);
        assert_int_equal(ob_stream_reason(there), OB_REASON_SHUTDOWN);
        assert_false(ob_session_has_output(pair.ends[0].session));
        pair_free(&pair);
    }
}

static void ping_measures_the_round_trip(void **state)
{
    struct pair pair;
    uint8_t bytes[256];
    pair_up(&pair, clean);
    assert_int_equal(ob_session_ping(pair.ends[0].session, pair.now), 0);
    assert_int_equal(ob_session_ping(pair.ends[0].session, pair.now), -EBUSY);
    size_t len = end_take(&pair, 0, bytes, sizeof(bytes));
    pair.now += 3 * MS;
    end_give(&pair, 1, bytes, len);
    pair_run(&pair);
    assert_int_equal(pair.ends[0].pongs, 1);
    struct ob_session_stats stats;
    ob_session_stats(pair.ends[0].session, &stats);
    assert_true(stats.round_trip_ns == 3 * MS);
    pair_free(&pair);
}

static void streams_share_the_channel_evenly(void **state)
{
    enum {
        STREAMS = 5,
        LEN = 200000
    };
    static uint8_t bytes[LEN];
    static uint8_t moved[LEN];
    struct pair pair;
    struct ob_stream *here[STREAMS], *there[STREAMS];
    pair_up(&pair, clean);
    for (int i = 0; i < STREAMS; i++)
        pair_open(&pair, 0, &here[i], &there[i]);
    for (int i = 0; i < STREAMS; i++)
        assert_int_equal(ob_stream_lend(here[i], bytes, LEN), 0);
    end_give(&pair, 1, moved, end_take(&pair, 0, moved, LEN));
    for (int i = 0; i < STREAMS; i++) {
        struct ob_stream_stats stats;
        ob_stream_stats(there[i], &stats);
        assert_in_range(stats.bytes_received, LEN / STREAMS - 16384, LEN / STREAMS + 16384);
    }
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_ends_see_one_tag),
        TEST(carries_service_and_metadata),
        TEST(bytes_that_are_not_there_are_refused),
        TEST(open_refuses_bad_lengths),
        TEST(refusal_carries_its_reason),
        TEST(carries_bytes_in_steps_of_any_size),
        TEST(lends_without_copying),
        TEST(lending_waits_for_what_was_written),
        TEST(half_close_leaves_the_other_half),
        TEST(an_orderly_close_still_sends_what_was_written),
        TEST(freeing_early_resets),
        TEST(reset_in_mid_frame_keeps_the_framing),
        TEST(the_channel_may_go_in_mid_transmit),
        TEST(writing_before_accept_is_held),
        TEST(going_away_refuses_new_streams_only),
        TEST(a_farewell_is_heard),
        TEST(ping_measures_the_round_trip),
        TEST(streams_share_the_channel_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
