// SPDX-License-Identifier: BSD-3-Clause
/* Received bytes that stay in the buffer of the caller, and the list of readable streams. */
#include "base/limits.h"
#include "session/pair.h"

#include <errno.h>
#include <stdlib.h>

#define BUFFER 65536

static void fill(uint8_t *bytes, size_t len, uint8_t seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(seed + i * 7);
}

/* What end 0 writes comes as a frame of its own behind what is in the buffer already. */
static size_t write_frame(struct pair *pair, struct ob_stream *stream, const uint8_t *bytes,
                          size_t len, uint8_t *buffer, size_t at)
{
    assert_int_equal(ob_stream_write(stream, bytes, len), len);
    return at + end_take(pair, 0, buffer + at, BUFFER - at);
}

static void lend(struct pair *pair, const uint8_t *buffer, size_t len)
{
    assert_int_equal(ob_session_receive_lent(pair->ends[1].session, buffer, len, pair->now), 0);
}

static void assert_reads(struct ob_stream *stream, const uint8_t *bytes, size_t len)
{
    uint8_t *got = malloc(len + 1);
    assert_int_equal(ob_stream_read(stream, got, len + 1), len);
    assert_memory_equal(got, bytes, len);
    free(got);
}

static void what_many_frames_brought_is_read_at_once_where_it_lies(void **state)
{
    static uint8_t buffer[BUFFER];
    uint8_t bytes[100];
    struct pair pair;
    struct ob_stream *here[2], *there[2];
    struct iovec iov[8];
    size_t len = 0;
    pair_up_asking(&pair, (struct ob_session_config){0});
    for (int i = 0; i < 2; i++)
        pair_open(&pair, 0, &here[i], &there[i]);
    fill(bytes, sizeof(bytes), 1);
    for (int i = 0; i < 6; i++)
        len = write_frame(&pair, here[i % 2], bytes, sizeof(bytes), buffer, len);
    lend(&pair, buffer, len);
    struct ob_session *session = pair.ends[1].session;
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(ob_session_next_readable(session), there[i]);
        assert_int_equal(ob_stream_peek_spans(there[i], iov, 2), 2);
        assert_int_equal(ob_stream_peek_spans(there[i], iov, 8), 3);
        for (int k = 0; k < 3; k++) {
            assert_in_range((uintptr_t)iov[k].iov_base, (uintptr_t)buffer,
                            (uintptr_t)buffer + len - sizeof(bytes));
            assert_int_equal(iov[k].iov_len, sizeof(bytes));
            assert_memory_equal(iov[k].iov_base, bytes, sizeof(bytes));
        }
        ob_stream_consume(there[i], 3 * sizeof(bytes));
        assert_int_equal(ob_stream_peek_spans(there[i], iov, 8), -EAGAIN);
    }
    assert_null(ob_session_next_readable(session));
    pair_free(&pair);
}

static void what_is_left_of_lent_bytes_is_kept(void **state)
{
    static uint8_t buffer[BUFFER];
    uint8_t bytes[300];
    struct pair pair;
    struct ob_stream *here, *there;
    size_t len = 0;
    pair_up_asking(&pair, (struct ob_session_config){0});
    pair_open(&pair, 0, &here, &there);
    fill(bytes, sizeof(bytes), 5);
    for (size_t at = 0; at < sizeof(bytes); at += 100)
        len = write_frame(&pair, here, bytes + at, 100, buffer, len);
    lend(&pair, buffer, len);
    assert_ptr_equal(ob_session_next_readable(pair.ends[1].session), there);
    ob_stream_consume(there, 150);
    assert_null(ob_session_next_readable(pair.ends[1].session));
    memset(buffer, 0xee, sizeof(buffer));
    /* It has been given once, and is not again, because there was something to read all along. */
    len = write_frame(&pair, here, bytes, 50, buffer, 0);
    lend(&pair, buffer, len);
    assert_null(ob_session_next_readable(pair.ends[1].session));
    memset(buffer, 0xee, sizeof(buffer));
    uint8_t rest[200];
    memcpy(rest, bytes + 150, 150);
    memcpy(rest + 150, bytes, 50);
    assert_reads(there, rest, sizeof(rest));
    pair_free(&pair);
}

static void any_number_of_frames_can_be_lent(void **state)
{
    enum {
        FRAMES = 2 * LIMIT_SESSION_PIECES + 3
    };
    static uint8_t buffer[BUFFER];
    uint8_t bytes[3 * FRAMES];
    struct pair pair;
    struct ob_stream *here, *there;
    size_t len = 0;
    pair_up_asking(&pair, (struct ob_session_config){0});
    pair_open(&pair, 0, &here, &there);
    fill(bytes, sizeof(bytes), 9);
    for (size_t i = 0; i < FRAMES; i++)
        len = write_frame(&pair, here, bytes + 3 * i, 3, buffer, len);
    lend(&pair, buffer, len);
    assert_ptr_equal(ob_session_next_readable(pair.ends[1].session), there);
    assert_reads(there, bytes, sizeof(bytes));
    assert_null(ob_session_next_readable(pair.ends[1].session));
    pair_free(&pair);
}

static void the_end_is_given_too(void **state)
{
    static uint8_t buffer[BUFFER];
    struct pair pair;
    struct ob_stream *here[2], *there[2];
    const void *bytes;
    pair_up_asking(&pair, (struct ob_session_config){0});
    for (int i = 0; i < 2; i++)
        pair_open(&pair, 0, &here[i], &there[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ob_stream_write(here[i], "ab", i ? 2 : 0), i ? 2 : 0);
        assert_int_equal(ob_stream_shutdown(here[i]), 0);
    }
    size_t len = 0, some;
    while ((some = end_take(&pair, 0, buffer + len, BUFFER - len)))
        len += some;
    lend(&pair, buffer, len);
    int ended = 0;
    for (struct ob_stream *stream; (stream = ob_session_next_readable(pair.ends[1].session));) {
        ssize_t left = ob_stream_peek(stream, &bytes);
        assert_int_equal(left, stream == there[1] ? 2 : 0);
        ob_stream_consume(stream, (size_t)left);
        ended += ob_stream_peek(stream, &bytes) == 0;
    }
    assert_int_equal(ended, 2);
    pair_free(&pair);
}

/* Reset by the peer behind its bytes, or freed by its owner: neither is given, nothing is read. */
static void a_stream_that_is_over_is_not_given(void **state)
{
    static uint8_t buffer[BUFFER];
    struct pair pair;
    struct ob_stream *here[3], *there[3];
    size_t len = 0;
    pair_up_asking(&pair, (struct ob_session_config){0});
    for (int i = 0; i < 3; i++)
        pair_open(&pair, 0, &here[i], &there[i]);
    for (int i = 0; i < 3; i++)
        len = write_frame(&pair, here[i], (const uint8_t *)"abc", 3, buffer, len);
    ob_stream_reset(here[0], OB_REASON_FAILED);
    len += end_take(&pair, 0, buffer + len, BUFFER - len);
    lend(&pair, buffer, len);
    assert_int_equal(pair.ends[1].resets, 1);
    assert_int_equal(ob_stream_reason(there[0]), OB_REASON_FAILED);
    ob_stream_free(there[1]);
    assert_ptr_equal(ob_session_next_readable(pair.ends[1].session), there[2]);
    assert_reads(there[2], (const uint8_t *)"abc", 3);
    assert_null(ob_session_next_readable(pair.ends[1].session));
    ob_stream_free(there[0]);
    pair_free(&pair);
}

static void the_channel_may_go_while_bytes_are_lent(void **state)
{
    static uint8_t buffer[BUFFER];
    struct pair pair;
    struct ob_stream *here, *there;
    pair_up_asking(&pair, (struct ob_session_config){0});
    pair_open(&pair, 0, &here, &there);
    lend(&pair, buffer, write_frame(&pair, here, (const uint8_t *)"abc", 3, buffer, 0));
    ob_session_transport_down(pair.ends[1].session, pair.now);
    memset(buffer, 0xee, sizeof(buffer));
    assert_int_equal(pair.ends[1].resets, 1);
    assert_null(ob_session_next_readable(pair.ends[1].session));
    assert_int_equal(ob_stream_read(there, buffer, 3), -ECONNRESET);
    ob_stream_free(there);
    pair_free(&pair);
}

/* On both kinds of channel, and whether bytes are lent or not. */
static void a_stream_can_be_asked_for_however_it_received(void **state)
{
    static uint8_t buffer[BUFFER];
    for (int i = 0; i < 4; i++) {
        struct pair pair;
        struct ob_stream *here, *there;
        pair_up_asking(&pair, (struct ob_session_config){.channel = i % 2 ? OB_CHANNEL_LINE
                                                                          : OB_CHANNEL_STREAM});
        pair_open(&pair, 0, &here, &there);
        struct ob_session *session = pair.ends[1].session;
        size_t len = write_frame(&pair, here, (const uint8_t *)"abc", 3, buffer, 0);
        len = write_frame(&pair, here, (const uint8_t *)"def", 3, buffer, len);
        if (i < 2) {
            lend(&pair, buffer, len);
        } else {
            assert_int_equal(ob_session_receive(session, buffer, len, pair.now), 0);
            memset(buffer, 0xee, sizeof(buffer));
        }
        assert_ptr_equal(ob_session_next_readable(session), there);
        assert_reads(there, (const uint8_t *)"abcdef", 6);
        assert_null(ob_session_next_readable(session));
        pair_free(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_many_frames_brought_is_read_at_once_where_it_lies),
        TEST(what_is_left_of_lent_bytes_is_kept),
        TEST(any_number_of_frames_can_be_lent),
        TEST(the_end_is_given_too),
        TEST(a_stream_that_is_over_is_not_given),
        TEST(the_channel_may_go_while_bytes_are_lent),
        TEST(a_stream_can_be_asked_for_however_it_received),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
