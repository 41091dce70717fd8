// SPDX-License-Identifier: BSD-3-Clause
/* Raw lines: whatever is lost, stale, cut or repeated, both ends learn of it and begin anew. */
#include "session/pair.h"

#include <errno.h>
#include <stdlib.h>

static const struct ob_session_config line = {.channel = OB_CHANNEL_LINE};

enum {
    TALK_MAX = 8192
};

/* A conversation that has frames of most kinds under way in both directions. */
struct talk {
    struct pair pair;
    struct ob_stream *here, *there;
    struct ob_stream *ours;
};

static void begin(struct talk *talk)
{
    pair_up(&talk->pair, line);
    pair_open(&talk->pair, 0, &talk->here, &talk->there);
    talk->pair.ends[0].eats = talk->pair.ends[1].eats = true;
    uint8_t bytes[700];
    memset(bytes, 0x55, sizeof(bytes));
    for (int i = 0; i < 2; i++) {
        struct ob_stream *stream = i ? talk->there : talk->here, *more;
        assert_int_equal(ob_stream_write(stream, bytes, sizeof(bytes)), sizeof(bytes));
        assert_int_equal(ob_stream_open(talk->pair.ends[i].session, "more", 4, NULL, 0, &more), 0);
        assert_int_equal(ob_session_ping(talk->pair.ends[i].session, talk->pair.now), 0);
    }
    assert_int_equal(ob_stream_shutdown(talk->here), 0);
}

/* After whatever happened, a new session stands within a second and carries a stream. */
static void assert_recovers(struct talk *talk)
{
    assert_true(pair_settle(&talk->pair, 1000 * MS));
    struct ob_stream *here, *there;
    pair_open(&talk->pair, 0, &here, &there);
    talk->pair.ends[1].eaten = 0;
    assert_int_equal(ob_stream_write(here, "fresh", 5), 5);
    pair_run(&talk->pair);
    assert_int_equal(talk->pair.ends[1].eaten, 5);
}

/* How many bytes one end sends in the conversation. */
static size_t talk_len(int from)
{
    static uint8_t bytes[TALK_MAX];
    struct talk talk;
    begin(&talk);
    size_t len = end_take(&talk.pair, from, bytes, sizeof(bytes));
    pair_free(&talk.pair);
    return len;
}

/* One end is killed after any number of its bytes went out; the rest never comes. */
static void either_end_restarts_at_every_byte(void **state)
{
    static uint8_t bytes[TALK_MAX];
    for (int which = 0; which < 2; which++) {
        size_t len = talk_len(which);
        assert_in_range(len, 700, TALK_MAX - 1);
        for (size_t cut = 0; cut <= len; cut++) {
            struct talk talk;
            begin(&talk);
            struct end *other = &talk.pair.ends[!which];
            uint64_t tag = other->tag;
            end_give(&talk.pair, !which, bytes, end_take(&talk.pair, which, bytes, cut));
            assert_true(other->eaten <= 700);
            end_restart(&talk.pair, which, &line);
            pair_run(&talk.pair);
            assert_int_equal(other->ends, 1);
            assert_int_equal(ob_stream_reason(which ? talk.here : talk.there), other->reason);
            assert_recovers(&talk);
            assert_true(other->tag != tag);
            pair_free(&talk.pair);
        }
    }
}

/* The same with the bytes that were under way to the dead end being read by its successor. */
static void the_successor_reads_stale_bytes(void **state)
{
    static uint8_t bytes[TALK_MAX];
    for (int which = 0; which < 2; which++) {
        size_t len = talk_len(!which);
        for (size_t cut = 0; cut <= len; cut++) {
            struct talk talk;
            begin(&talk);
            size_t taken = end_take(&talk.pair, !which, bytes, sizeof(bytes));
            end_restart(&talk.pair, which, &line);
            end_give(&talk.pair, which, bytes + cut, taken - cut);
            assert_int_equal(talk.pair.ends[which].ups, 1); /* that of the life before */
            assert_recovers(&talk);
            pair_free(&talk.pair);
        }
    }
}

/* A whole earlier conversation is replayed to an end, greeting and all. */
static void an_earlier_session_is_never_taken_for_a_new_one(void **state)
{
    static uint8_t bytes[65536];
    struct talk talk = {0};
    size_t len = 0;
    pair_new(&talk.pair, &line, &line);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ob_session_transport_up(talk.pair.ends[i].session, talk.pair.now), 0);
    struct ob_stream *stream = NULL;
    for (int round = 0; round < 6; round++) {
        size_t some = end_take(&talk.pair, 0, bytes + len, sizeof(bytes) - len);
        end_give(&talk.pair, 1, bytes + len, some);
        len += some;
        uint8_t back[4096];
        end_give(&talk.pair, 0, back, end_take(&talk.pair, 1, back, sizeof(back)));
        if (pair_stands(&talk.pair) && !stream) {
            assert_int_equal(ob_stream_open(talk.pair.ends[0].session, "old", 3, NULL, 0, &stream),
                             0);
            assert_int_equal(ob_stream_write(stream, "old bytes", 9), 9);
        }
    }
    assert_string_equal(talk.pair.ends[1].service, "old");
    unsigned int opens = talk.pair.ends[1].opens;
    talk.pair.ends[1].eats = true;
    for (int again = 0; again < 3; again++) {
        end_give(&talk.pair, 1, bytes, len);
        assert_int_equal(talk.pair.ends[1].opens, opens);
        assert_int_equal(talk.pair.ends[1].eaten, 0);
    }
    assert_recovers(&talk);
    pair_free(&talk.pair);
}

/* Nothing follows the lost bytes, so only the probe can find out. */
static void a_lost_tail_is_noticed(void **state)
{
    static uint8_t bytes[TALK_MAX];
    size_t len = talk_len(0);
    for (size_t kept = 0; kept < len; kept++) {
        struct talk talk;
        begin(&talk);
        uint64_t tag = talk.pair.ends[0].tag;
        assert_int_equal(end_take(&talk.pair, 0, bytes, sizeof(bytes)), len);
        end_give(&talk.pair, 1, bytes, kept);
        for (int i = 0; i < 50 && talk.pair.ends[0].ends + talk.pair.ends[1].ends < 2; i++) {
            pair_run(&talk.pair);
            talk.pair.now += 20 * MS;
            ob_session_tick(talk.pair.ends[0].session, talk.pair.now);
            ob_session_tick(talk.pair.ends[1].session, talk.pair.now);
        }
        assert_int_equal(talk.pair.ends[0].ends, 1);
        assert_int_equal(talk.pair.ends[1].ends, 1);
        assert_recovers(&talk);
        assert_true(talk.pair.ends[0].tag != tag);
        pair_free(&talk.pair);
    }
}

/* A changed byte either ends the session or, in a zero between frames, changes nothing. */
static void a_changed_byte_is_never_delivered(void **state)
{
    static uint8_t bytes[TALK_MAX];
    size_t len = talk_len(0);
    for (size_t at = 0; at < len; at++) {
        struct talk talk;
        begin(&talk);
        end_take(&talk.pair, 0, bytes, sizeof(bytes));
        bytes[at] ^= 0x04;
        end_give(&talk.pair, 1, bytes, len);
        talk.pair.now += 200 * MS;
        ob_session_tick(talk.pair.ends[0].session, talk.pair.now);
        pair_run(&talk.pair);
        assert_int_equal(talk.pair.ends[1].ends, 1);
        assert_int_equal(talk.pair.ends[1].ups, 2);
        assert_recovers(&talk);
        pair_free(&talk.pair);
    }
}

static void greets_through_noise(void **state)
{
    struct pair pair;
    uint8_t noise[40000];
    pair_new(&pair, &line, &line);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)(i * i >> 3 | 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ob_session_transport_up(pair.ends[i].session, pair.now), 0);
        end_give(&pair, i, noise, sizeof(noise));
    }
    pair.step = 1;
    pair_run(&pair);
    assert_true(pair_stands(&pair));
    pair_free(&pair);
}

static void repeats_a_lost_greeting(void **state)
{
    struct pair pair;
    uint8_t lost[1024];
    pair_new(&pair, &line, &line);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ob_session_transport_up(pair.ends[i].session, pair.now), 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 2; i++) {
            end_take(&pair, i, lost, sizeof(lost));
            assert_false(ob_session_has_output(pair.ends[i].session));
            assert_in_range(ob_session_deadline(pair.ends[i].session) - pair.now, 1, 400 * MS);
        }
        pair.now += 400 * MS;
        for (int i = 0; i < 2; i++)
            ob_session_tick(pair.ends[i].session, pair.now);
    }
    pair_run(&pair);
    assert_true(pair_stands(&pair));
    pair_free(&pair);
}

static void an_echo_is_no_peer(void **state)
{
    struct pair pair;
    uint8_t bytes[1024];
    pair_new(&pair, &line, &line);
    assert_int_equal(ob_session_transport_up(pair.ends[0].session, pair.now), 0);
    for (int i = 0; i < 20; i++) {
        end_give(&pair, 0, bytes, end_take(&pair, 0, bytes, sizeof(bytes)));
        pair.now += 400 * MS;
        ob_session_tick(pair.ends[0].session, pair.now);
    }
    assert_int_equal(pair.ends[0].ups, 0);
    pair_free(&pair);
}

static void a_frame_without_end_ends_the_session(void **state)
{
    struct pair pair;
    uint8_t bytes[20000];
    pair_up(&pair, line);
    memset(bytes, 0xff, sizeof(bytes));
    end_give(&pair, 0, bytes, sizeof(bytes));
    assert_int_equal(pair.ends[0].ends, 1);
    assert_int_equal(pair.ends[0].reason, OB_REASON_CORRUPT);
    assert_true(pair_settle(&pair, 1000 * MS));
    pair_free(&pair);
}

static void one_sided_loss_of_the_channel_is_learnt_there(void **state)
{
    for (int which = 0; which < 2; which++) {
        struct talk talk;
        begin(&talk);
        pair_run(&talk.pair);
        ob_session_transport_down(talk.pair.ends[which].session, talk.pair.now);
        assert_int_equal(talk.pair.ends[which].reason, OB_REASON_TRANSPORT);
        assert_false(ob_session_has_output(talk.pair.ends[which].session));
        assert_int_equal(ob_session_transport_up(talk.pair.ends[which].session, talk.pair.now), 0);
        pair_run(&talk.pair);
        assert_int_equal(talk.pair.ends[!which].ends, 1);
        assert_int_equal(talk.pair.ends[!which].reason, OB_REASON_RESTARTED);
        assert_recovers(&talk);
        pair_free(&talk.pair);
    }
}

/* While streams are being reset, the application frees another one: not a word of that is for the
 * session that comes next. */
static void what_is_freed_meanwhile_stays_in_the_past(void **state)
{
    struct talk talk;
    pair_up(&talk.pair, line);
    pair_open(&talk.pair, 0, &talk.here, &talk.there);
    pair_open(&talk.pair, 0, &talk.ours, &talk.there);
    talk.pair.ends[0].dependent = talk.ours;
    talk.pair.ends[1].eats = true;
    end_restart(&talk.pair, 1, &line);
    pair_run(&talk.pair);
    assert_int_equal(talk.pair.ends[0].ends, 1);
    assert_int_equal(talk.pair.ends[0].resets, 1);
    assert_recovers(&talk);
    assert_int_equal(talk.pair.ends[0].ends, 1);
    assert_int_equal(talk.pair.ends[1].ends, 0);
    pair_free(&talk.pair);
}

/* The peer is paused for an hour: probes wait in the channel, nothing ends. */
static void a_pause_ends_nothing(void **state)
{
    struct talk talk;
    begin(&talk);
    pair_run(&talk.pair);
    assert_int_equal(ob_stream_write(talk.there, "x", 1), 1);
    for (int minute = 0; minute < 60; minute++) {
        talk.pair.now += 60000 * MS;
        ob_session_tick(talk.pair.ends[1].session, talk.pair.now);
    }
    talk.pair.ends[0].eaten = 0;
    pair_run(&talk.pair);
    assert_int_equal(talk.pair.ends[0].eaten, 1);
    assert_int_equal(talk.pair.ends[0].ends + talk.pair.ends[1].ends, 0);
    pair_free(&talk.pair);
}

static void a_quiet_line_stays_quiet(void **state)
{
    struct talk talk;
    begin(&talk);
    pair_run(&talk.pair);
    for (int i = 0; i < 10; i++) {
        talk.pair.now += 400 * MS;
        ob_session_tick(talk.pair.ends[0].session, talk.pair.now);
        ob_session_tick(talk.pair.ends[1].session, talk.pair.now);
        pair_run(&talk.pair);
    }
    for (int i = 0; i < 2; i++)
        assert_true(ob_session_deadline(talk.pair.ends[i].session) == OB_SESSION_NEVER);
    pair_free(&talk.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(either_end_restarts_at_every_byte),
        TEST(the_successor_reads_stale_bytes),
        TEST(an_earlier_session_is_never_taken_for_a_new_one),
        TEST(a_lost_tail_is_noticed),
        TEST(a_changed_byte_is_never_delivered),
        TEST(greets_through_noise),
        TEST(repeats_a_lost_greeting),
        TEST(an_echo_is_no_peer),
        TEST(a_frame_without_end_ends_the_session),
        TEST(one_sided_loss_of_the_channel_is_learnt_there),
        TEST(what_is_freed_meanwhile_stays_in_the_past),
        TEST(a_pause_ends_nothing),
        TEST(a_quiet_line_stays_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
