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

static int count_draws(void *user, void *bytes, size_t len)
{
    unsigned *draws = user;
    memset(bytes, (int)++*draws, len);
    return 0;
}

static void refuses_values_out_of_bounds(void **state)
{
    struct ob_session *session = NULL;
    struct ob_session_config config = {.size = sizeof(config)};
    assert_int_equal(ob_session_new(&config, &session), -EINVAL); /* no random */
    assert_int_equal(ob_session_new(NULL, &session), -EINVAL);
    assert_int_equal(ob_session_new(&config, NULL), -EINVAL);
    struct pair pair;
    pair_new(&pair, &config, &config);
    const struct ob_session_config keyless = {
        .size = sizeof(keyless), .random = no_random, .key_len = 4};
    assert_int_equal(ob_session_new(&keyless, &session), -EINVAL);
    const struct ob_session_config unsized = {.random = no_random};
    assert_int_equal(ob_session_new(&unsized, &session), -EINVAL);
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
    } keys[] = {{"key one ", "key two "},
                {"key one ", "key one  "},
                {"key one ", NULL},
                {NULL, "key one "}};
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
                /* Both are told, whoever notices first. */
                assert_int_equal(pair.ends[end].ends, 1);
                assert_int_equal(pair.ends[end].reason, OB_REASON_KEY);
                assert_int_equal(ob_session_fault(pair.ends[end].session)->code, -EACCES);
            }
            assert_int_equal(results[0] < 0 || results[1] < 0, channel == OB_CHANNEL_STREAM);
            pair_free(&pair);
        }
    }
}

/* On a line the refusal is told once per life of the peer, and the next peer gets its chance. */
static void a_line_waits_for_a_peer_with_the_key(void **state)
{
    struct ob_session_config right = {.channel = OB_CHANNEL_LINE, .key = "key one ", .key_len = 8};
    struct ob_session_config wrong = {.channel = OB_CHANNEL_LINE, .key = "key two ", .key_len = 8};
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
    struct ob_session_config config = {.key = "key one ", .key_len = 8};
    for (size_t at = 0; at < SESSION_PROOF_LEN; at++) {
        struct pair pair;
        uint8_t bytes[512];
        start(&pair, &config, &config);
        for (int i = 0; i < 2; i++) /* greetings, then what both ask each other to prove */
            end_give(&pair, !i, bytes, end_take(&pair, i, bytes, sizeof(bytes)));
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
    struct ob_session_config config = {.channel = OB_CHANNEL_LINE, .key = "key one ", .key_len = 8};
    struct pair pair;
    uint8_t hello[512], answer[512], bytes[512];
    start(&pair, &config, &config);
    size_t hello_len = end_take(&pair, 0, hello, sizeof(hello));
    end_give(&pair, 1, hello, hello_len);
    end_give(&pair, 0, hello, end_take(&pair, 1, hello, sizeof(hello)));
    end_give(&pair, 1, hello, end_take(&pair, 0, hello, sizeof(hello)));
    size_t answer_len = end_take(&pair, 1, answer, sizeof(answer));
    end_restart(&pair, 0, &config);
    end_give(&pair, 0, answer, answer_len);
    assert_int_equal(pair.ends[0].ups, 0);
    end_take(&pair, 0, bytes, sizeof(bytes));
    end_give(&pair, 0, answer, answer_len);
    assert_int_equal(pair.ends[0].ups, 0);
    pair_free(&pair);
}

#define KEYED                                                                                      \
    {                                                                                              \
        .channel = OB_CHANNEL_LINE, .key = "key one ", .key_len = 8                                \
    }

/* What went from end 0 to end 1 until the session stood, in the order in which it went. */
struct recording {
    uint8_t bytes[16][4096];
    size_t len[16];
    int count;
};

static void record(struct pair *pair, struct recording *recording)
{
    uint8_t bytes[4096];
    recording->count = 0;
    while (!pair_stands(pair)) {
        int at = recording->count++;
        assert_true(at < 16);
        recording->len[at] = end_take(pair, 0, recording->bytes[at], 4096);
        end_give(pair, 1, recording->bytes[at], recording->len[at]);
        end_give(pair, 0, bytes, end_take(pair, 1, bytes, sizeof(bytes)));
    }
}

static void replay(struct pair *pair, const struct recording *recording)
{
    uint8_t bytes[4096];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < recording->count; i++) {
            end_give(pair, 1, recording->bytes[i], recording->len[i]);
            end_take(pair, 1, bytes, sizeof(bytes));
        }
    }
}

/*
 * A machine that is resumed twice from one snapshot: both clones have drawn the same until then,
 * and draw other numbers afterwards. What convinced the first does not convince the second.
 */
static void what_convinced_one_clone_does_not_convince_another(void **state)
{
    struct ob_session_config config = KEYED;
    for (int up_before = 0; up_before < 2; up_before++) {
        static struct recording recording;
        uint8_t bytes[4096];
        for (int clone = 0; clone < 2; clone++) {
            struct pair pair;
            start(&pair, &config, &config);
            if (up_before) { /* the snapshot is of a session with somebody else */
                pair_run(&pair);
                assert_true(pair_stands(&pair));
                end_restart(&pair, 0, &config);
                pair.ends[0].random_state += 1000;
            }
            end_take(&pair, 1, bytes, up_before ? 0 : sizeof(bytes)); /* its HELLO is lost */
            uint64_t before = pair.ends[1].tag;
            pair.ends[1].random_state += 77 * (uint64_t)clone + 1; /* resumed */
            if (clone == 0) {
                record(&pair, &recording);
                assert_int_equal(pair.ends[1].ups, 1 + up_before);
            } else {
                replay(&pair, &recording);
                assert_int_equal(pair.ends[1].ups, up_before);
                assert_true(pair.ends[1].tag == before);
                assert_int_equal(pair.ends[1].ends, 0);
            }
            pair_free(&pair);
        }
    }
}

/* Who can write to the line and has no key may greet as often as it likes. */
static void greetings_without_proof_end_no_session_with_a_key(void **state)
{
    struct ob_session_config right = KEYED, none = {.channel = OB_CHANNEL_LINE}, wrong = KEYED;
    wrong.key = "key two ";
    const struct ob_session_config *others[] = {&none, &wrong};
    for (int i = 0; i < 2; i++) {
        struct pair pair, other;
        uint8_t bytes[4096];
        pair_up(&pair, right);
        start(&other, others[i], &right);
        other.ends[0].random_state += 5000;
        for (int round = 0; round < 5; round++) {
            other.now += 500 * MS;
            ob_session_tick(other.ends[0].session, other.now);
            end_give(&pair, 1, bytes, end_take(&other, 0, bytes, sizeof(bytes)));
            end_give(&other, 0, bytes, end_take(&pair, 1, bytes, sizeof(bytes)));
        }
        assert_int_equal(pair.ends[1].ends, 0);
        assert_int_equal(pair.ends[1].ups, 1);
        assert_int_equal(other.ends[0].ups, 0);
        pair_free(&other);
        pair_free(&pair);
    }
}

/* The peer that has the key and has lost its memory takes its own place. */
static void a_peer_that_proves_itself_takes_its_place(void **state)
{
    struct ob_session_config config = KEYED;
    struct pair pair;
    pair_up(&pair, config);
    uint64_t before = pair.ends[1].tag;
    end_restart(&pair, 0, &config);
    pair.ends[0].random_state += 1000;
    assert_int_equal(pair.ends[1].ends, 0);
    assert_true(pair_settle(&pair, 100 * MS));
    assert_int_equal(pair.ends[1].ends, 1);
    assert_int_equal(pair.ends[1].reason, OB_REASON_RESTARTED);
    assert_int_equal(pair.ends[1].ups, 2);
    assert_true(pair.ends[1].tag != before && pair.ends[1].tag == pair.ends[0].tag);
    pair_free(&pair);
}

/* Else somebody who connects to both would have them prove themselves to each other. */
static void two_that_listen_prove_nothing_to_each_other(void **state)
{
    struct ob_session_config listens = {.key = "key one ", .key_len = 8, .listens = true};
    struct ob_session_config connects = {.key = "key one ", .key_len = 8};
    struct pair pair;
    int results[2];
    start(&pair, &listens, &listens);
    run_unkind(&pair, results);
    assert_int_equal(pair.ends[0].ups + pair.ends[1].ups, 0);
    assert_int_equal(results[0], -EACCES);
    pair_free(&pair);
    start(&pair, &listens, &connects);
    pair_run(&pair);
    assert_true(pair_stands(&pair));
    pair_free(&pair);
}

static void a_short_key_is_refused(void **state)
{
    struct pair pair;
    struct ob_session_config config = {.size = sizeof(config), .key = "1234567", .key_len = 7};
    struct ob_session *session = NULL;
    pair_new(&pair, &(struct ob_session_config){0}, &(struct ob_session_config){0});
    config.random = count_draws;
    assert_int_equal(ob_session_new(&config, &session), -EINVAL);
    assert_null(session);
    pair_free(&pair);
}

/* Nothing is drawn ahead: a nonce when greeting begins, a challenge when a peer is heard of. */
static void random_bytes_are_drawn_when_they_are_needed(void **state)
{
    struct ob_session_config config = KEYED;
    struct ob_session *session;
    struct pair pair;
    uint8_t bytes[4096];
    unsigned draws = 0;
    config.size = sizeof(config);
    config.random = count_draws;
    config.user = &draws;
    assert_int_equal(ob_session_new(&config, &session), 0);
    assert_int_equal(draws, 0);
    assert_int_equal(ob_session_transport_up(session, 0), 0);
    assert_int_equal(draws, 1);
    start(&pair, &(struct ob_session_config)KEYED, &config);
    size_t len = end_take(&pair, 0, bytes, sizeof(bytes));
    for (int i = 0; i < 3; i++)
        assert_int_equal(ob_session_receive(session, bytes, len, 0), 0);
    assert_int_equal(draws, 2);
    ob_session_free(session);
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
        'O',  'A',  'R',  'D',  0x02, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00,
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
        TEST(refuses_values_out_of_bounds),
        TEST(the_right_key_opens),
        TEST(any_other_key_does_not),
        TEST(a_line_waits_for_a_peer_with_the_key),
        TEST(a_changed_proof_is_refused),
        TEST(a_replayed_proof_is_refused),
        TEST(another_version_is_told),
        TEST(the_golden_greeting),
        TEST(the_channel_may_come_and_go),
        TEST(streams_need_a_session),
        TEST(silence_counts_when_asked_to),
        TEST(a_stopped_clock_is_no_silence),
        TEST(what_convinced_one_clone_does_not_convince_another),
        TEST(greetings_without_proof_end_no_session_with_a_key),
        TEST(a_peer_that_proves_itself_takes_its_place),
        TEST(two_that_listen_prove_nothing_to_each_other),
        TEST(a_short_key_is_refused),
        TEST(random_bytes_are_drawn_when_they_are_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
