// SPDX-License-Identifier: BSD-3-Clause
/*
 * Codecs of the session protocol. What decodes must encode to the very bytes that were decoded;
 * what is stuffed must hold no zero and come out as it went in, in pieces of any size.
 */
#include "base/limits.h"
#include "wire/cobs.h"
#include "wire/session_wire.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_same(const uint8_t *out, size_t out_len, const uint8_t *in, size_t in_len)
{
    CHECK(out_len == in_len && memcmp(out, in, in_len) == 0);
}

static void messages(const uint8_t *in, size_t len)
{
    uint8_t out[LIMIT_SESSION_CONTROL_PAYLOAD] = {0};
    struct session_hello hello;
    struct session_hello_ack ack;
    struct session_open open;
    struct session_credit credit;
    uint32_t u32;
    uint64_t u64;
    if (session_hello_get(in, len, &hello) == 0)
        assert_same(out, session_hello_put(out, &hello), in, len);
    if (session_hello_ack_get(in, len, &ack) == 0)
        assert_same(out, session_hello_ack_put(out, &ack), in, len);
    if (session_open_get(in, len, &open) == 0)
        assert_same(out, session_open_put(out, &open), in, len);
    if (session_credit_get(in, len, &credit) == 0)
        assert_same(out, session_credit_put(out, &credit), in, len);
    if (session_u32_get(in, len, &u32) == 0)
        assert_same(out, session_u32_put(out, u32), in, len);
    if (session_u64_get(in, len, &u64) == 0)
        assert_same(out, session_u64_put(out, u64), in, len);
    if (len >= SESSION_HEADER_LEN) {
        struct session_header header = session_header_get(in);
        session_header_put(out, &header);
        assert_same(out, SESSION_HEADER_LEN, in, SESSION_HEADER_LEN);
    }
}

static void stuffing(const uint8_t *in, size_t len, size_t step)
{
    uint8_t *out = malloc(COBS_ENCODED_MAX(len) + 1), *frame = malloc(len + 1);
    struct cobs_decoder decoder;
    bool ended = false;
    size_t out_len = cobs_encode(out, in, len);
    CHECK(out_len <= COBS_ENCODED_MAX(len) && !memchr(out, 0, out_len));
    out[out_len++] = 0;
    cobs_decoder_init(&decoder, frame, len);
    for (size_t at = 0; at < out_len;) {
        CHECK(!ended);
        at += cobs_decode(&decoder, out + at, step < out_len - at ? step : out_len - at, &ended);
    }
    CHECK(ended && cobs_frame_whole(&decoder));
    assert_same(frame, decoder.len, in, len);
    free(out);
    free(frame);
}

/* Bytes that nobody stuffed: never more comes out than fits, and what comes out is a frame. */
static void unstuffing(const uint8_t *in, size_t len)
{
    uint8_t frame[32], out[COBS_ENCODED_MAX(sizeof(frame))];
    struct cobs_decoder decoder;
    cobs_decoder_init(&decoder, frame, sizeof(frame));
    for (size_t at = 0; at < len;) {
        bool ended;
        at += cobs_decode(&decoder, in + at, len - at, &ended);
        CHECK(decoder.len <= sizeof(frame));
        if (!ended)
            break;
        if (cobs_frame_whole(&decoder)) {
            size_t out_len = cobs_encode(out, frame, decoder.len);
            CHECK(!memchr(out, 0, out_len));
        }
        cobs_decoder_reset(&decoder);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    messages(data + 1, size - 1);
    stuffing(data + 1, size - 1, 1 + data[0] % 16);
    unstuffing(data + 1, size - 1);
    return 0;
}
