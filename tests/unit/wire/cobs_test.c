// SPDX-License-Identifier: BSD-3-Clause
#include "wire/cobs.h"

#include "support.h"

#include <string.h>

static void assert_encodes(const char *bytes, size_t len, const char *encoded, size_t encoded_len)
{
    uint8_t out[64];
    assert_int_equal(cobs_encode(out, (const uint8_t *)bytes, len), encoded_len);
    assert_memory_equal(out, encoded, encoded_len);
}

static void encodes_golden_bytes(void **state)
{
    assert_encodes("", 0, "\x01", 1);
    assert_encodes("\0", 1, "\x01\x01", 2);
    assert_encodes("\0\0", 2, "\x01\x01\x01", 3);
    assert_encodes("\x11\x22\0\x33", 4, "\x03\x11\x22\x02\x33", 5);
    assert_encodes("\x11\0\0\0", 4, "\x02\x11\x01\x01\x01", 5);
}

static void assert_round_trip(const uint8_t *bytes, size_t len, size_t step)
{
    uint8_t out[1200], frame[1024];
    struct cobs_decoder decoder;
    size_t encoded = cobs_encode(out, bytes, len);
    assert_true(encoded <= COBS_ENCODED_MAX(len));
    assert_null(memchr(out, 0, encoded));
    out[encoded++] = 0;
    cobs_decoder_init(&decoder, frame, sizeof(frame));
    bool ended = false;
    for (size_t at = 0; at < encoded;) {
        assert_false(ended);
        size_t some = encoded - at < step ? encoded - at : step;
        size_t taken = cobs_decode(&decoder, out + at, some, &ended);
        assert_int_equal(taken, some);
        at += taken;
    }
    assert_true(ended);
    assert_true(cobs_frame_whole(&decoder));
    assert_int_equal(decoder.len, len);
    if (len)
        assert_memory_equal(frame, bytes, len);
}

static void round_trips_every_length(void **state)
{
    uint8_t bytes[1024];
    for (int zeroes = 0; zeroes < 3; zeroes++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(zeroes == 0 ? i % 255 + 1 : zeroes == 1 ? i : i % 2);
        for (size_t len = 0; len <= sizeof(bytes); len++) {
            assert_round_trip(bytes, len, 1);
            assert_round_trip(bytes, len, 7);
            assert_round_trip(bytes, len, 2000);
        }
    }
}

static void stops_at_the_end_of_a_frame(void **state)
{
    uint8_t frame[16];
    struct cobs_decoder decoder;
    bool ended;
    cobs_decoder_init(&decoder, frame, sizeof(frame));
    assert_int_equal(cobs_decode(&decoder, (const uint8_t *)"\x02\x61\0\x02\x62\0", 6, &ended), 3);
    assert_true(ended && cobs_frame_whole(&decoder));
    assert_int_equal(frame[0], 0x61);
}

static void knows_a_cut_frame(void **state)
{
    uint8_t frame[16];
    struct cobs_decoder decoder;
    bool ended;
    cobs_decoder_init(&decoder, frame, sizeof(frame));
    cobs_decode(&decoder, (const uint8_t *)"\x05\x61\0", 3, &ended);
    assert_true(ended);
    assert_false(cobs_frame_whole(&decoder));
    cobs_decoder_reset(&decoder);
    cobs_decode(&decoder, (const uint8_t *)"\0", 1, &ended);
    assert_true(ended);
    assert_false(decoder.begun);
}

static void never_overruns(void **state)
{
    uint8_t frame[9] = {0}, out[64];
    struct cobs_decoder decoder;
    bool ended;
    for (size_t len = 0; len < 20; len++) {
        size_t encoded = cobs_encode(out, (const uint8_t *)"abcdefghijklmnopqrstuvwxyz", len);
        out[encoded] = 0;
        cobs_decoder_init(&decoder, frame, 8);
        cobs_decode(&decoder, out, encoded + 1, &ended);
        assert_int_equal(cobs_frame_whole(&decoder), len <= 8);
        assert_int_equal(frame[8], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(encodes_golden_bytes),
        TEST(round_trips_every_length),
        TEST(stops_at_the_end_of_a_frame),
        TEST(knows_a_cut_frame),
        TEST(never_overruns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
