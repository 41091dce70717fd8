// SPDX-License-Identifier: BSD-3-Clause
#include "backlog.h"

#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "support.h"

static void test_a_stream_against_a_plain_array(void **state)
{
    struct backlog backlog = {0};
    size_t in = 0, out = 0;
    srand(1);
    for (unsigned turn = 0; turn < 20000; turn++) {
        size_t len = (size_t)rand() % 3000;
        if (rand() % 2 && in - out < 100000) {
            uint8_t *room = backlog_add(&backlog, len);
            assert_non_null(room);
            for (size_t i = 0; i < len; i++)
                room[i] = (uint8_t)((in + i) % 253);
            in += len;
            continue;
        }
        size_t there = 0;
        const uint8_t *first = backlog_first(&backlog, false, &there);
        assert_int_equal(first ? there : 0, in - out);
        if (!first)
            continue;
        if (len > there)
            len = there;
        for (size_t i = 0; i < len; i++)
            assert_int_equal(first[i], (out + i) % 253);
        backlog_drop(&backlog, false, len);
        out += len;
        assert_int_equal(backlog_is_empty(&backlog), in == out);
        if (in == out)
            assert_null(backlog.bytes);
    }
    backlog_clear(&backlog);
}

static void test_only_whole_messages_come_out(void **state)
{
    struct backlog backlog = {0};
    size_t len = 0;
    memcpy(backlog_add_fragment(&backlog, 2, false), "ab", 2);
    assert_null(backlog_first(&backlog, true, &len));
    memcpy(backlog_add_fragment(&backlog, 1, true), "c", 1);
    memcpy(backlog_add_fragment(&backlog, 1, false), "d", 1);
    assert_memory_equal(backlog_first(&backlog, true, &len), "abc", 3);
    assert_int_equal(len, 3);
    backlog_drop(&backlog, true, len);
    assert_null(backlog_first(&backlog, true, &len));
    assert_non_null(backlog_add_fragment(&backlog, 5000, true)); /* has to grow, and to move */
    assert_int_equal(*backlog_first(&backlog, true, &len), 'd');
    assert_int_equal(len, 5001);
    backlog_drop(&backlog, true, len);
    assert_true(backlog_is_empty(&backlog));
}

static void test_a_packet_at_every_field(void **state)
{
    uint8_t bytes[PACKET_HEADER_LEN], again[PACKET_HEADER_LEN];
    struct packet packet;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i + 1);
    packet_get(bytes, &packet);
    assert_int_equal(packet.src_cid, 0x0807060504030201);
    assert_int_equal(packet.dst_cid, 0x100f0e0d0c0b0a09);
    assert_int_equal(packet.src_port, 0x14131211);
    assert_int_equal(packet.dst_port, 0x18171615);
    assert_int_equal(packet.len, 0x1c1b1a19);
    assert_int_equal(packet.type, 0x1e1d);
    assert_int_equal(packet.op, 0x201f);
    assert_int_equal(packet.flags, 0x24232221);
    assert_int_equal(packet.buf_alloc, 0x28272625);
    assert_int_equal(packet.fwd_cnt, 0x2c2b2a29);
    packet_put(&packet, again);
    assert_memory_equal(again, bytes, sizeof(bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_stream_against_a_plain_array),
        TEST(test_only_whole_messages_come_out),
        TEST(test_a_packet_at_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
