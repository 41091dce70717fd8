// SPDX-License-Identifier: BSD-3-Clause
/* A peer that breaks the rules is told so and dropped; one that floods costs bounded memory. */
#include "session/peer.h"

#include <errno.h>

static const struct ob_session_config clean = {.channel = OB_CHANNEL_STREAM, .window = 1000};

/* The engine has named the fault, reset everything and said farewell. */
static void assert_dropped(struct peer *peer, int result, const char *fault)
{
    uint32_t reason = 0;
    assert_int_equal(result, -EPROTO);
    assert_non_null(strstr(ob_session_fault(peer->end->session)->text, fault));
    assert_int_equal(peer->end->ends, 1);
    assert_int_equal(peer->end->reason, OB_REASON_PROTOCOL);
    assert_int_equal(peer_take(peer, &reason), SESSION_BYE);
    assert_int_equal(reason, OB_REASON_PROTOCOL);
    assert_int_equal(end_give(&peer->pair, 0, "x", 1), -EPROTO);
    assert_false(ob_session_has_output(peer->end->session));
    peer_free(peer);
}

static void drops_frames_out_of_order(void **state)
{
    struct peer peer;
    peer_up(&peer, clean);
    peer.seq = 1;
    assert_dropped(&peer, peer_send_u64(&peer, SESSION_PING, 0, 1),
                   "frame number: got 1, expected 0");
}

static void ignores_frames_of_another_session(void **state)
{
    struct peer peer;
    struct session_header header = {.type = SESSION_PING, .len = 8};
    peer_up(&peer, clean);
    header.tag = peer.end->tag ^ 1;
    assert_int_equal(peer_send_header(&peer, &header, "12345678"), 0);
    header.type = SESSION_DATA;
    header.len = 16384;
    static const uint8_t payload[16384];
    assert_int_equal(peer_send_header(&peer, &header, payload), 0);
    assert_int_equal(peer_take(&peer, NULL), 0);
    assert_int_equal(peer.end->ends, 0);
    peer_free(&peer);
}

static void ignores_an_echo(void **state)
{
    struct peer peer;
    peer_up(&peer, clean);
    struct session_header header = {
        .type = SESSION_PING, .len = 8, .flags = SESSION_FLAG_GREATER, .tag = peer.end->tag};
    assert_int_equal(peer_send_header(&peer, &header, "12345678"), 0);
    assert_int_equal(peer_take(&peer, NULL), 0);
    peer_free(&peer);
}

static void drops_unknown_types(void **state)
{
    static const int types[] = {0, 14, 255};
    for (size_t i = 0; i < 3; i++) {
        struct peer peer;
        peer_up(&peer, clean);
        assert_dropped(&peer, peer_send(&peer, (enum session_type)types[i], 0, "", 0), "type");
    }
}

static void drops_other_protocols(void **state)
{
    static const struct {
        const char *bytes, *fault;
    } greetings[] = {
        {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "does not speak"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "raw line"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;
        pair_new(&pair, &clean, &clean);
        assert_int_equal(ob_session_transport_up(pair.ends[0].session, pair.now), 0);
        assert_int_equal(end_give(&pair, 0, greetings[i].bytes, 24), -EPROTO);
        assert_non_null(strstr(ob_session_fault(pair.ends[0].session)->text, greetings[i].fault));
        pair_free(&pair);
    }
}

static void drops_every_wrong_length(void **state)
{
    static const struct {
        enum session_type type;
        size_t len;
    } right[] = {
        {SESSION_BYE, 4},     {SESSION_GOAWAY, 4}, {SESSION_PING, 8},
        {SESSION_PONG, 8},    {SESSION_ACCEPT, 4}, {SESSION_REFUSE, 4},
        {SESSION_CREDIT, 12}, {SESSION_FIN, 8},    {SESSION_RESET, 4},
    };
    static const uint8_t payload[32];
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        for (size_t len = 0; len < sizeof(payload); len++) {
            struct peer peer;
            if (len == right[i].len)
                continue;
            peer_up(&peer, clean);
            uint64_t id = right[i].type >= SESSION_OPEN ? peer_open(&peer, 0) : 0;
            assert_dropped(&peer, peer_send(&peer, right[i].type, id, payload, len),
                           "got a payload of");
        }
    }
}

static void drops_data_of_wrong_length(void **state)
{
    struct peer peer;
    peer_up(&peer, (struct ob_session_config){.window = 1 << 20});
    uint64_t id = peer_open(&peer, 0);
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, "", 0), "got a payload of 0 bytes");
    peer_up(&peer, (struct ob_session_config){.window = 1 << 20});
    id = peer_open(&peer, 0);
    static const uint8_t bytes[16385];
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, bytes, 16385),
                   "got a payload of 16385 bytes");
}

static void drops_session_frames_that_name_a_stream(void **state)
{
    struct peer peer;
    peer_up(&peer, clean);
    assert_dropped(&peer, peer_send_u64(&peer, SESSION_PING, 1, 0), "got a wrong stream id");
    peer_up(&peer, clean);
    assert_dropped(&peer, peer_send_u32(&peer, SESSION_RESET, 0, 0), "got a wrong stream id");
}

static void drops_streams_that_never_were(void **state)
{
    static const struct {
        enum session_type type;
        size_t len;
    } frames[] = {{SESSION_ACCEPT, 4}, {SESSION_REFUSE, 4}, {SESSION_CREDIT, 12},
                  {SESSION_FIN, 8},    {SESSION_RESET, 4},  {SESSION_DATA, 5}};
    for (size_t i = 0; i < 6; i++) {
        for (uint64_t id = 1; id < 3; id++) {
            struct peer peer;
            static const uint8_t payload[16];
            peer_up(&peer, clean);
            assert_dropped(&peer, peer_send(&peer, frames[i].type, id, payload, frames[i].len),
                           "was never opened");
        }
    }
}

static void drops_open_out_of_turn(void **state)
{
    static const uint64_t ids[] = {0, 2, 3, 5, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        struct peer peer;
        peer_up(&peer, clean);
        int result = peer_send(&peer, SESSION_OPEN, ids[i], "\0\0\0\0\1\0\0\0x", 9);
        assert_dropped(&peer, result,
                       ids[i] ? "the id is not the next one" : "got a wrong stream id");
    }
}

static void drops_credit_that_lies(void **state)
{
    static const struct {
        uint64_t consumed;
        uint32_t window;
        const char *fault;
    } lies[] = {
        {0, 999, "takes back"},
        {101, 1000, "never sent"},
        {UINT64_MAX, 1, "never sent"},
        {49, 2000, "goes back"},
        {100, (64u << 20) + 1, "CREDIT: got a window"},
        {100, UINT32_MAX, "CREDIT: got a window"},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct peer peer;
        uint8_t bytes[100] = {0};
        peer_up(&peer, clean);
        uint64_t id = peer_open(&peer, 1000);
        assert_int_equal(ob_stream_write(peer.end->incoming, bytes, 100), 100);
        assert_int_equal(peer_take(&peer, NULL), SESSION_DATA);
        if (i)
            assert_int_equal(peer_send_credit(&peer, id, 50, 1000), 0);
        assert_dropped(&peer, peer_send_credit(&peer, id, lies[i].consumed, lies[i].window),
                       lies[i].fault);
    }
}

static void drops_data_beyond_credit(void **state)
{
    struct peer peer;
    uint8_t bytes[1001] = {0};
    peer_up(&peer, clean);
    uint64_t id = peer_open(&peer, 0);
    assert_int_equal(peer_send(&peer, SESSION_DATA, id, bytes, 1000), 0);
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, bytes, 1), "beyond the credit");
    peer_up(&peer, clean);
    id = peer_open(&peer, 0);
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, bytes, 1001), "beyond the credit");
}

static void drops_what_the_state_forbids(void **state)
{
    struct peer peer;
    peer_up(&peer, clean);
    uint64_t id = peer_open(&peer, 0);
    assert_int_equal(peer_send_u64(&peer, SESSION_FIN, id, 0), 0);
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, "x", 1), "not open");
    peer_up(&peer, clean);
    id = peer_open(&peer, 0);
    assert_int_equal(peer_send_u64(&peer, SESSION_FIN, id, 0), 0);
    assert_dropped(&peer, peer_send_u64(&peer, SESSION_FIN, id, 0), "not open");
    peer_up(&peer, clean);
    id = peer_open(&peer, 0);
    assert_dropped(&peer, peer_send_u32(&peer, SESSION_ACCEPT, id, 1), "not opening");
    peer_up(&peer, clean);
    peer.end->accepts = false;
    id = peer_open(&peer, 0);
    assert_dropped(&peer, peer_send_credit(&peer, id, 0, 1), "not open");
}

static void drops_a_fin_that_miscounts(void **state)
{
    struct peer peer;
    peer_up(&peer, clean);
    uint64_t id = peer_open(&peer, 0);
    assert_int_equal(peer_send(&peer, SESSION_DATA, id, "abc", 3), 0);
    assert_dropped(&peer, peer_send_u64(&peer, SESSION_FIN, id, 4), "but 3 arrived");
}

static void drops_answers_before_their_time(void **state)
{
    static const struct {
        enum session_type type;
        size_t len;
    } frames[] = {{SESSION_CREDIT, 12}, {SESSION_FIN, 8}, {SESSION_RESET, 4}, {SESSION_DATA, 1}};
    for (size_t i = 0; i < 4; i++) {
        struct peer peer;
        struct ob_stream *stream;
        static const uint8_t payload[16];
        peer_up(&peer, clean);
        assert_int_equal(ob_stream_open(peer.end->session, "x", 1, NULL, 0, &stream), 0);
        assert_int_equal(peer_take(&peer, NULL), SESSION_OPEN);
        assert_dropped(&peer, peer_send(&peer, frames[i].type, 2, payload, frames[i].len), "");
    }
}

static uint64_t memory_of(const struct peer *peer)
{
    struct ob_session_stats stats;
    ob_session_stats(peer->end->session, &stats);
    return stats.buffered_bytes + stats.streams * (uint64_t)512;
}

static void a_flood_of_opens_is_refused_then_dropped(void **state)
{
    struct peer peer;
    struct ob_session_config config = clean;
    config.max_streams = 10;
    peer_up(&peer, config);
    peer.end->accepts = false;
    for (int i = 0; i < 256; i++)
        peer_open(&peer, 0);
    assert_int_equal(peer.end->opens, 10);
    assert_true(memory_of(&peer) <= (size_t)10 * 512);
    int result = peer_send(&peer, SESSION_OPEN, peer.next_id, "\0\0\0\0\1\0\0\0x", 9);
    assert_dropped(&peer, result, "more than 256 unanswered OPENs");
}

static void refusals_of_a_flood_are_sent(void **state)
{
    struct peer peer;
    struct ob_session_config config = clean;
    config.max_streams = 1;
    peer_up(&peer, config);
    uint32_t reason = 0;
    for (int i = 0; i < 5000; i++) {
        peer_open(&peer, 0);
        if (i % 200 == 199)
            assert_int_equal(peer_take(&peer, &reason), i == 199 ? SESSION_ACCEPT : SESSION_REFUSE);
    }
    peer_take(&peer, &reason);
    assert_int_equal(reason, OB_REASON_BUSY);
    peer_free(&peer);
}

/* OPEN and RESET without end, and nothing of ours is ever read. */
static void a_storm_of_resets_costs_nothing(void **state)
{
    struct peer peer;
    struct ob_session_config config = clean;
    config.max_streams = 10;
    peer_up(&peer, config);
    for (int i = 0; i < 20000; i++) {
        uint64_t id = peer_open(&peer, 0);
        assert_int_equal(peer_send_u32(&peer, SESSION_RESET, id, 0), 0);
        if (peer.end->incoming)
            ob_stream_free(peer.end->incoming);
        peer.end->incoming = NULL;
        assert_true(memory_of(&peer) <= (size_t)10 * 512);
    }
    assert_int_equal(peer.end->resets, 20000);
    peer_free(&peer);
}

static void resets_of_refused_streams_make_room(void **state)
{
    struct peer peer;
    struct ob_session_config config = clean;
    config.max_streams = 1;
    peer_up(&peer, config);
    peer_open(&peer, 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t id = peer_open(&peer, 0);
        assert_int_equal(peer_send_u32(&peer, SESSION_RESET, id, 0), 0);
    }
    assert_int_equal(peer.end->ends, 0);
    peer_free(&peer);
}

/* As many OPENs may wait for an answer as streams are granted: slow ones hold up no other. */
static void all_streams_may_wait_for_their_answer(void **state)
{
    struct peer peer;
    struct ob_session_config config = clean;
    config.max_streams = 1000;
    peer_up(&peer, config);
    peer.end->accepts = false;
    for (int i = 0; i < 1000; i++)
        peer_open(&peer, 0);
    assert_int_equal(peer.end->opens, 1000);
    assert_int_equal(peer.end->ends, 0);
    ob_stream_accept(peer.end->incoming); /* the last one */
    uint32_t window;
    assert_int_equal(peer_take(&peer, &window), SESSION_ACCEPT);
    peer_free(&peer);
}

static void a_flood_of_pings_gets_one_pong(void **state)
{
    struct peer peer;
    static uint8_t bytes[4096];
    peer_up(&peer, clean);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(peer_send_u64(&peer, SESSION_PING, 0, i), 0);
    assert_int_equal(end_take(&peer.pair, 0, bytes, sizeof(bytes)), SESSION_HEADER_LEN + 8);
    assert_int_equal(bytes[0], SESSION_PONG);
    assert_int_equal(bytes[SESSION_HEADER_LEN] + 256 * bytes[SESSION_HEADER_LEN + 1], 9999);
    peer_free(&peer);
}

static void single_bytes_stay_within_the_window(void **state)
{
    struct peer peer;
    peer_up(&peer, (struct ob_session_config){.window = 100000});
    uint64_t id = peer_open(&peer, 0);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(peer_send(&peer, SESSION_DATA, id, "x", 1), 0);
    assert_true(memory_of(&peer) <= 2 * 100000 + 4096);
    assert_int_equal(peer.end->readable, 1);
    assert_dropped(&peer, peer_send(&peer, SESSION_DATA, id, "x", 1), "beyond the credit");
}

/* More answers than the control lane holds: no DATA may overtake the ACCEPT of its stream. */
static void accept_goes_before_data(void **state)
{
    static uint8_t bytes[65536];
    bool accepted[512] = {false};
    struct peer peer;
    struct ob_stream *streams[250];
    peer_up(&peer, clean);
    for (int i = 0; i < 250; i++) {
        peer_open(&peer, 1000);
        streams[i] = peer.end->incoming;
    }
    for (int i = 249; i >= 0; i--)
        assert_int_equal(ob_stream_write(streams[i], "x", 1), 1);
    size_t len = end_take(&peer.pair, 0, bytes, sizeof(bytes)), data = 0;
    for (size_t at = 0; at < len;) {
        struct session_header header = session_header_get(bytes + at);
        at += SESSION_HEADER_LEN + header.len;
        assert_true(header.stream < 512);
        assert_true(header.type == SESSION_ACCEPT || accepted[header.stream]);
        accepted[header.stream] = true;
        data += header.type == SESSION_DATA;
    }
    assert_int_equal(data, 250);
    peer_free(&peer);
}

static void late_frames_of_a_freed_stream_are_dropped(void **state)
{
    struct peer peer;
    static const uint8_t bytes[900];
    peer_up(&peer, clean);
    uint64_t id = peer_open(&peer, 0);
    ob_stream_free(peer.end->incoming);
    assert_int_equal(peer_send(&peer, SESSION_DATA, id, bytes, sizeof(bytes)), 0);
    assert_int_equal(peer_send_credit(&peer, id, 0, 100), 0);
    assert_int_equal(peer_send_u64(&peer, SESSION_FIN, id, 900), 0);
    assert_int_equal(peer_send_u32(&peer, SESSION_RESET, id, 0), 0);
    assert_int_equal(peer.end->ends, 0);
    struct ob_session_stats stats;
    ob_session_stats(peer.end->session, &stats);
    assert_int_equal(stats.frames_dropped, 4);
    peer_free(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(drops_frames_out_of_order),
        TEST(ignores_frames_of_another_session),
        TEST(ignores_an_echo),
        TEST(drops_unknown_types),
        TEST(drops_other_protocols),
        TEST(drops_every_wrong_length),
        TEST(drops_data_of_wrong_length),
        TEST(drops_session_frames_that_name_a_stream),
        TEST(drops_streams_that_never_were),
        TEST(drops_open_out_of_turn),
        TEST(drops_credit_that_lies),
        TEST(drops_data_beyond_credit),
        TEST(drops_what_the_state_forbids),
        TEST(drops_a_fin_that_miscounts),
        TEST(drops_answers_before_their_time),
        TEST(a_flood_of_opens_is_refused_then_dropped),
        TEST(refusals_of_a_flood_are_sent),
        TEST(a_storm_of_resets_costs_nothing),
        TEST(resets_of_refused_streams_make_room),
        TEST(all_streams_may_wait_for_their_answer),
        TEST(a_flood_of_pings_gets_one_pong),
        TEST(single_bytes_stay_within_the_window),
        TEST(accept_goes_before_data),
        TEST(late_frames_of_a_freed_stream_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
