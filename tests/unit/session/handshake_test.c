// SPDX-License-Identifier: BSD-3-Clause
/* Who gets a session, and who is told why not. */
#include "session/pair.h"
#include "wire/session_wire.h"

#include <errno.h>

static void start(struct pair *pair, const struct ob_session_config *a,
                  const struct ob_session_config *b)
{
    pair_new(pair, a, b);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ob_session_transport_up(pair->ends[i].session, pair->now), 0);
}

/* Carries bytes until nothing moves; an end may refuse them. */
static void run_unkind(struct pair *pair, int results[2])
{
    uint8_t bytes[4096];
    size_t moved = 1;
    results[0] = results[1] = 0;
    while (moved) {
        moved = 0;
        for (int i = 0; i < 2; i++) {
            size_t len = end_take(pair, i, bytes, sizeof(bytes));
            int result = end_give(pair, !i, bytes, len);
            results[!i] = result < 0 ? result : results[!i];
            moved += len;
        }
    }
}

static int no_random(void *user, void *bytes, size_t len)
{
    return 0;
}

static void refuses_values_out_of_bounds(void **state)
{
    struct ob_session *session = NULL;
    struct ob_session_config config = {0};
    assert_int_equal(ob_session_new(&config, &session), -EINVAL); /* no random */
    assert_int_equal(ob_session_new(NULL, &session), -EINVAL);
    assert_int_equal(ob_session_new(&config, NULL), -EINVAL);
    struct pair pair;
    pair_new(&pair, &config, &config);
    const struct ob_session_config keyless = {.random = no_random, .key_len = 4};
    assert_int_equal(ob_session_new(&keyless, &session), -EINVAL);
    pair_free(&pair);
    assert_null(session);
}

static void the_right_key_opens(void **state)
{
    for (int channel = OB_CHANNEL_STREAM; channel <= OB_CHANNEL_LINE; channel++) {
        struct pair pair;
        struct ob_stream *here, *there;
        pair_up(&pair, (struct ob_session_config){.channel = (enum ob_channel)channel,
                                                  .key = "open sesame",
                                                  .key_len = 11});
        pair_open(&pair, 1, &here, &there);
        pair_free(&pair);
    }
}

static void any_other_key_does_not(void **state)
{
    static const struct {
        const char *a, *b;
    } keys[] = {{"one", "two"}, {"one", "one "}, {"one", NULL}, {NULL, "one"}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        for (int channel = OB_CHANNEL_STREAM; channel <= OB_CHANNEL_LINE; channel++) {
            struct ob_session_config a = {.channel = (enum ob_channel)channel}, b = a;
            a.key = keys[i].a, a.key_len = a.key ? strlen(a.key) : 0;
            b.key = keys[i].b, b.key_len = b.key ? strlen(b.key) : 0;
            struct pair pair;
            int results[2];
            start(&pair, &a, &b);
            run_unkind(&pair, results);
            assert_int_equal(pair.ends[0].ups + pair.ends[1].ups, 0);
            for (int end = 0; end < 2; end++) {
                /* On a clean channel the first to notice hangs up. */
                bool told = channel == OB_CHANNEL_LINE || results[end] < 0;
                assert_int_equal(pair.ends[end].ends, told);
                assert_int_equal(pair.ends[end].reason, told ? OB_REASON_KEY : 0);
                assert_int_equal(ob_session_fault(pair.ends[end].session)->code,
                                 told ? -EACCES : 0);
            }
            assert_int_equal(results[0] < 0 || results[1] < 0, channel == OB_CHANNEL_STREAM);
            pair_free(&pair);
        }
    }
}

/* On a line the refusal is told once per life of the peer, and the next peer gets its chance. */
static void a_line_waits_for_a_peer_with_the_key(void **state)
{
    struct ob_session_config right = {.channel = OB_CHANNEL_LINE, .key = "one", .key_len = 3};
    struct ob_session_config wrong = {.channel = OB_CHANNEL_LINE, .key = "two", .key_len = 3};
    struct pair pair;
    start(&pair, &right, &wrong);
    assert_false(pair_settle(&pair, 3000 * MS));
    assert_int_equal(pair.ends[0].ends, 1);
    end_restart(&pair, 1, &right);
    assert_true(pair_settle(&pair, 1000 * MS));
    pair_free(&pair);
}

/* Every byte of the proof counts. */
static void a_changed_proof_is_refused(void **state)
{
    struct ob_session_config config = {.key = "one", .key_len = 3};
    for (size_t at = 0; at < SESSION_PROOF_LEN; at++) {
        struct pair pair;
        uint8_t bytes[512];
        start(&pair, &config, &config);
        end_give(&pair, 1, bytes, end_take(&pair, 0, bytes, sizeof(bytes)));
        size_t len = end_take(&pair, 1, bytes, sizeof(bytes));
        bytes[len - SESSION_PROOF_LEN + at] ^= 1;
        assert_int_equal(end_give(&pair, 0, bytes, len), -EACCES);
        assert_int_equal(pair.ends[0].ups, 0);
        pair_free(&pair);
    }
}

/* The answer given to one nonce is worth nothing for the next one. */
static void a_replayed_proof_is_refused(void **state)
{
    struct ob_session_config config = {.channel = OB_CHANNEL_LINE, .key = "one", .key_len = 3};
    struct pair pair;
    uint8_t hello[512], answer[512], bytes[512];
    start(&pair, &config, &config);
    size_t hello_len = end_take(&pair, 0, hello, sizeof(hello));
    end_give(&pair, 1, hello, hello_len);
    size_t answer_len = end_take(&pair, 1, answer, sizeof(answer));
    end_restart(&pair, 0, &config);
    end_give(&pair, 0, answer, answer_len);
    assert_int_equal(pair.ends[0].ups, 0);
    end_take(&pair, 0, bytes, sizeof(bytes));
    end_give(&pair, 0, answer, answer_len);
    assert_int_equal(pair.ends[0].ups, 0);
    pair_free(&pair);
}

static void another_version_is_told(void **state)
{
    for (int channel = OB_CHANNEL_STREAM; channel <= OB_CHANNEL_STREAM; channel++) {
        struct ob_session_config config = {.channel = (enum ob_channel)channel};
        struct pair pair;
        uint8_t bytes[512];
        start(&pair, &config, &config);
        size_t len = end_take(&pair, 0, bytes, sizeof(bytes));
        bytes[SESSION_HEADER_LEN + 8] = 9;
        assert_int_equal(end_give(&pair, 1, bytes, len), -EPROTONOSUPPORT);
        assert_int_equal(pair.ends[1].reason, OB_REASON_VERSION);
        assert_int_equal(pair.ends[1].ends, 1);
        pair_free(&pair);
    }
}

static void the_golden_greeting(void **state)
{
    static const uint8_t golden[] = {
        0x01, 0x00, 0x18, 0x00, 0,    0,    0,    0,    0,    0,    0,    0,    0,   0,
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    'O',  'U',  'T', 'B',
        'O',  'A',  'R',  'D',  0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00,
    };
    struct ob_session_config config = {0};
    struct pair pair;
    uint8_t bytes[512];
    start(&pair, &config, &config);
    assert_int_equal(end_take(&pair, 0, bytes, sizeof(bytes)), sizeof(golden) + 8);
    assert_memory_equal(bytes, golden, sizeof(golden));
    pair_free(&pair);
}

static void the_channel_may_come_and_go(void **state)
{
    struct ob_session_config config = {0};
    struct pair pair;
    uint64_t tag = 0;
    start(&pair, &config, &config);
    for (unsigned int round = 1; round < 5; round++) {
        pair_run(&pair);
        assert_true(pair_stands(&pair));
        assert_true(pair.ends[0].tag != tag);
        tag = pair.ends[0].tag;
        for (int i = 0; i < 2; i++) {
            ob_session_transport_down(pair.ends[i].session, pair.now);
            assert_int_equal(pair.ends[i].ends, round);
            assert_int_equal(end_give(&pair, i, "junk", 4), 0);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(ob_session_transport_up(pair.ends[i].session, pair.now), 0);
    }
    pair_free(&pair);
}

static void streams_need_a_session(void **state)
{
    struct ob_session_config config = {0};
    struct ob_stream *stream = NULL;
    struct pair pair;
    pair_new(&pair, &config, &config);
    assert_int_equal(ob_stream_open(pair.ends[0].session, "x", 1, NULL, 0, &stream), -ENOTCONN);
    assert_int_equal(ob_session_ping(pair.ends[0].session, pair.now), -ENOTCONN);
    assert_false(ob_session_has_output(pair.ends[0].session));
    assert_true(ob_session_deadline(pair.ends[0].session) == OB_SESSION_NEVER);
    pair_free(&pair);
}

/* Ticks whenever a tick is due, for so long; the other end is silent. */
static void be_silent(struct pair *pair, uint64_t ns)
{
    uint64_t end = pair->now + ns;
    while (ob_session_deadline(pair->ends[0].session) <= end) {
        uint64_t deadline = ob_session_deadline(pair->ends[0].session);
        pair->now = deadline > pair->now ? deadline : pair->now;
        ob_session_tick(pair->ends[0].session, pair->now);
    }
    pair->now = end;
}

static void silence_counts_when_asked_to(void **state)
{
    struct pair pair;
    pair_up(&pair,
            (struct ob_session_config){.keepalive_ns = 3000 * MS, .idle_timeout_ns = 10000 * MS});
    be_silent(&pair, 9000 * MS);
    assert_true(ob_session_has_output(pair.ends[0].session)); /* PING */
    assert_int_equal(pair.ends[0].ends, 0);
    pair_run(&pair);
    be_silent(&pair, 9000 * MS);
    assert_int_equal(pair.ends[0].ends, 0);
    be_silent(&pair, 1500 * MS);
    assert_int_equal(pair.ends[0].ends, 1);
    assert_int_equal(pair.ends[0].reason, OB_REASON_TIMEOUT);
    pair_free(&pair);
}

/* This process was stopped for an hour: that was not the peer's silence. */
static void a_stopped_clock_is_no_silence(void **state)
{
    struct pair pair;
    pair_up(&pair, (struct ob_session_config){.idle_timeout_ns = 10000 * MS});
    pair.now += 3600000 * MS;
    ob_session_tick(pair.ends[0].session, pair.now);
    assert_int_equal(pair.ends[0].ends, 0);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_values_out_of_bounds), TEST(the_right_key_opens),
        TEST(any_other_key_does_not),       TEST(a_line_waits_for_a_peer_with_the_key),
        TEST(a_changed_proof_is_refused),   TEST(a_replayed_proof_is_refused),
        TEST(another_version_is_told),      TEST(the_golden_greeting),
        TEST(the_channel_may_come_and_go),  TEST(streams_need_a_session),
        TEST(silence_counts_when_asked_to), TEST(a_stopped_clock_is_no_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
