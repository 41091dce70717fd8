// SPDX-License-Identifier: BSD-3-Clause
/* One slow reader never stops another, and memory stays within the windows. */
#include "session/pair.h"

#include <errno.h>
#include <stdlib.h>

#define WINDOW 8192

static uint64_t buffered(const struct pair *pair, int which)
{
    struct ob_session_stats stats;
    ob_session_stats(pair->ends[which].session, &stats);
    return stats.buffered_bytes;
}

/* Writes as much as is taken, until nothing more is. */
static size_t write_full(struct pair *pair, struct ob_stream *stream)
{
    static const uint8_t bytes[4096];
    size_t done = 0;
    ssize_t some = 1;
    while (some > 0) {
        some = ob_stream_write(stream, bytes, sizeof(bytes));
        assert_true(some >= 0);
        done += (size_t)some;
        pair_run(pair);
    }
    return done;
}

static size_t read_all(struct pair *pair, struct ob_stream *stream)
{
    uint8_t bytes[3000];
    size_t done = 0;
    ssize_t some;
    while ((some = ob_stream_read(stream, bytes, sizeof(bytes))) > 0) {
        done += (size_t)some;
        pair_run(pair);
    }
    assert_int_equal(some, -EAGAIN);
    return done;
}

static const struct ob_session_config configs[] = {
    {.channel = OB_CHANNEL_STREAM, .window = WINDOW, .send_buffer = 4096},
    {.channel = OB_CHANNEL_LINE, .window = WINDOW, .send_buffer = 4096},
};

/* A session with one stream, which the first end has opened. */
static void start(struct pair *pair, struct ob_session_config config, struct ob_stream **ret_here,
                  struct ob_stream **ret_there)
{
    pair_up(pair, config);
    pair_open(pair, 0, ret_here, ret_there);
}

static void a_stopped_reader_stops_its_writer_at_the_window(void **state)
{
    for (int channel = 0; channel < 2; channel++) {
        struct pair pair;
        struct ob_stream *here, *there;
        struct ob_stream_stats stats;
        start(&pair, configs[channel], &here, &there);
        assert_int_equal(write_full(&pair, here), WINDOW + 4096);
        ob_stream_stats(there, &stats);
        assert_int_equal(stats.unread, WINDOW);
        assert_int_equal(stats.window, 0);
        ob_stream_stats(here, &stats);
        assert_int_equal(stats.unsent, 4096);
        assert_int_equal(stats.credit, 0);
        assert_true(buffered(&pair, 1) <= 2 * WINDOW + 1024);
        assert_int_equal(pair.ends[1].readable, 1);
        assert_int_equal(read_all(&pair, there), WINDOW + 4096);
        assert_int_equal(pair.ends[0].writable, 1);
        assert_int_equal(buffered(&pair, 0) + buffered(&pair, 1), 0);
        pair_free(&pair);
    }
}

static void windows_of_any_size_work(void **state)
{
    static const uint32_t windows[] = {1, 2, 3, 100, 16384, 16385, 1000000};
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        struct ob_session_config config = configs[i % 2];
        struct pair pair;
        struct ob_stream *here, *there;
        static uint8_t bytes[5000];
        config.window = windows[i];
        start(&pair, config, &here, &there);
        pair.ends[1].eats = true;
        assert_int_equal(ob_stream_lend(here, bytes, sizeof(bytes)), 0);
        pair_run(&pair);
        assert_int_equal(pair.ends[1].eaten, sizeof(bytes));
        pair_free(&pair);
    }
}

/* Both ends write until nothing more is taken, on several streams, before anybody reads. */
static void both_ends_blocked_at_once_recover(void **state)
{
    enum {
        STREAMS = 8
    };
    for (int channel = 0; channel < 2; channel++) {
        struct pair pair;
        struct ob_stream *here[STREAMS], *there[STREAMS];
        pair_up(&pair, configs[channel]);
        for (int i = 0; i < STREAMS; i++) {
            pair_open(&pair, i % 2, &here[i], &there[i]);
            assert_int_equal(write_full(&pair, here[i]), WINDOW + 4096);
            assert_int_equal(write_full(&pair, there[i]), WINDOW + 4096);
        }
        for (int i = 0; i < STREAMS; i++) {
            assert_int_equal(read_all(&pair, here[i]), WINDOW + 4096);
            assert_int_equal(read_all(&pair, there[i]), WINDOW + 4096);
        }
        pair_free(&pair);
    }
}

/*
 * Alice, Bob, Mary and Joe share a channel; Joe stops reading. For every choice of who stops, and
 * in both directions, the others go on, and at the end Joe has every byte.
 */
static void one_who_stops_reading_stops_nobody_else(void **state)
{
    enum {
        PEOPLE = 4
    };
    static uint8_t bytes[100000];
    for (int joe = 0; joe < PEOPLE * 2; joe++) {
        struct pair pair;
        struct ob_stream *ends[PEOPLE][2];
        pair_up(&pair, configs[joe % 2]);
        for (int i = 0; i < PEOPLE; i++)
            pair_open(&pair, i % 2, &ends[i][0], &ends[i][1]);
        for (int i = 0; i < PEOPLE; i++) {
            assert_int_equal(ob_stream_lend(ends[i][0], bytes, sizeof(bytes)), 0);
            assert_int_equal(ob_stream_lend(ends[i][1], bytes, sizeof(bytes)), 0);
        }
        for (int round = 0; round < 2; round++) {
            size_t got[PEOPLE][2] = {0}, moved = 1;
            while (moved) {
                moved = 0;
                pair_run(&pair);
                for (int i = 0; i < PEOPLE * 2; i++) {
                    size_t some = i == joe && round == 0 ? 0 : read_all(&pair, ends[i / 2][i % 2]);
                    got[i / 2][i % 2] += some;
                    moved += some;
                }
            }
            for (int i = 0; i < PEOPLE * 2; i++) {
                size_t due = round == 0 ? i == joe ? 0 : sizeof(bytes)
                             : i == joe ? sizeof(bytes)
                                        : 0;
                assert_int_equal(got[i / 2][i % 2], due);
            }
            assert_true(buffered(&pair, 0) + buffered(&pair, 1) <= 2 * WINDOW + 1024);
        }
        pair_free(&pair);
    }
}

/* Streams whose place in `there` is odd are stopped; the others must finish, then all. */
static void half_of_a_thousand_streams_stopped(void **state)
{
    enum {
        STREAMS = 1000
    };
    static struct ob_stream *here[STREAMS], *there[STREAMS];
    static uint8_t bytes[20000];
    struct ob_session_config config = configs[0];
    struct ob_session_stats stats;
    struct ob_stream *none;
    struct pair pair;
    config.max_streams = STREAMS;
    pair_up(&pair, config);
    for (int i = 0; i < STREAMS; i++)
        pair_open(&pair, 0, &here[i], &there[i]);
    assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &none), -EAGAIN);
    for (int i = 0; i < STREAMS; i++)
        assert_int_equal(ob_stream_lend(here[i], bytes, sizeof(bytes)), 0);
    for (int first = 0; first < 2; first++) {
        pair_run(&pair);
        for (int i = first; i < STREAMS; i += 2)
            assert_int_equal(read_all(&pair, there[i]), sizeof(bytes));
        ob_session_stats(pair.ends[0].session, &stats);
        assert_int_equal(stats.streams_blocked, first ? 0 : STREAMS / 2);
        assert_true(buffered(&pair, 1) <= (uint64_t)STREAMS / 2 * (2 * WINDOW + 1024));
    }
    assert_int_equal(buffered(&pair, 1), 0);
    pair_free(&pair);
}

/* A write that fell short is told about once there is half the buffer to fill. */
static void writable_comes_once_and_in_time(void **state)
{
    struct pair pair;
    struct ob_stream *here, *there;
    start(&pair, configs[0], &here, &there);
    write_full(&pair, here);
    unsigned int before = pair.ends[0].writable;
    pair_run(&pair);
    assert_int_equal(pair.ends[0].writable, before);
    uint8_t bytes[WINDOW / 2];
    assert_int_equal(ob_stream_read(there, bytes, sizeof(bytes)), sizeof(bytes));
    pair_run(&pair);
    assert_int_equal(pair.ends[0].writable, before + 1);
    pair_free(&pair);
}

/* Only once the peer's application has read it all, and only while the peer may still say more. */
static void what_was_read_to_its_end_is_told_once(void **state)
{
    for (int channel = 0; channel < 2; channel++) {
        struct pair pair;
        struct ob_stream *here, *there;
        uint8_t bytes[WINDOW];
        start(&pair, configs[channel], &here, &there);
        assert_int_equal(ob_stream_write(here, "all that there is", 17), 17);
        ob_stream_shutdown(here);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].finished, 0);
        assert_int_equal(ob_stream_read(there, bytes, 10), 10);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].finished, 0);
        assert_int_equal(ob_stream_read(there, bytes, sizeof(bytes)), 7);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].finished, 1);
        assert_int_equal(ob_stream_write(there, "more", 4), 4);
        ob_stream_shutdown(there);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].finished, 1);
        assert_int_equal(pair.ends[1].finished, 0);
        pair_free(&pair);
    }
}

/* Whoever leaves bytes unread learns that no more will come. */
static void an_end_behind_unread_bytes_is_told(void **state)
{
    for (int channel = 0; channel < 2; channel++) {
        struct pair pair;
        struct ob_stream *here, *there;
        struct ob_stream_stats stats;
        start(&pair, configs[channel], &here, &there);
        assert_int_equal(ob_stream_write(here, "unread", 6), 6);
        pair_run(&pair);
        assert_int_equal(pair.ends[1].readable, 1);
        ob_stream_stats(there, &stats);
        assert_false(stats.ended);
        ob_stream_shutdown(here);
        pair_run(&pair);
        assert_int_equal(pair.ends[1].readable, 2);
        ob_stream_stats(there, &stats);
        assert_true(stats.ended);
        assert_int_equal(stats.unread, 6);
        pair_free(&pair);
    }
}

/* A peer that was shut down and still waits for credit has not ended its direction. */
static void what_was_read_is_told_while_an_end_waits_for_credit(void **state)
{
    for (int channel = 0; channel < 2; channel++) {
        struct pair pair;
        struct ob_stream *here, *there;
        uint8_t byte, bytes[WINDOW + 1] = {0};
        start(&pair, configs[channel], &here, &there);
        assert_int_equal(ob_stream_lend(there, bytes, sizeof(bytes)), 0);
        ob_stream_shutdown(there);
        ob_stream_shutdown(here);
        pair_run(&pair);
        assert_int_equal(ob_stream_read(there, &byte, 1), 0);
        pair_run(&pair);
        assert_int_equal(pair.ends[0].finished, 1);
        pair_free(&pair);
    }
}

/* Nothing was sent but the end. */
static void an_end_without_bytes_is_told_too(void **state)
{
    struct pair pair;
    struct ob_stream *here, *there;
    start(&pair, configs[0], &here, &there);
    ob_stream_shutdown(here);
    pair_run(&pair);
    assert_int_equal(pair.ends[0].finished, 1);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stopped_reader_stops_its_writer_at_the_window),
        TEST(windows_of_any_size_work),
        TEST(both_ends_blocked_at_once_recover),
        TEST(one_who_stops_reading_stops_nobody_else),
        TEST(half_of_a_thousand_streams_stopped),
        TEST(writable_comes_once_and_in_time),
        TEST(what_was_read_to_its_end_is_told_once),
        TEST(an_end_behind_unread_bytes_is_told),
        TEST(what_was_read_is_told_while_an_end_waits_for_credit),
        TEST(an_end_without_bytes_is_told_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
