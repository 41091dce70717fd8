// SPDX-License-Identifier: BSD-3-Clause
#include "wire/cobs.h"

#include <string.h>

/* The code of a block of 254 bytes after which no zero is left out. */
#define CODE_FULL 255

/* Byte by byte: calls that look for the next zero lose more on zeroes than they gain elsewhere. */
size_t cobs_encode(uint8_t *out, const uint8_t *bytes, size_t len)
{
    const uint8_t *end = bytes + len;
    uint8_t *code = out, *at = out + 1;
    while (bytes < end) {
        uint8_t byte = *bytes++;
        if (byte)
            *at++ = byte;
        bool full = at - code == CODE_FULL;
        if (byte && !full)
            continue;
        *code = (uint8_t)(at - code);
        if (byte && bytes == end)
            return (size_t)(at - out); /* a full block needs no other one after it */
        code = at++;
    }
    *code = (uint8_t)(at - code);
    return (size_t)(at - out);
}

void cobs_decoder_init(struct cobs_decoder *decoder, uint8_t *frame, size_t size)
{
    *decoder = (struct cobs_decoder){.frame = frame, .size = size};
}

void cobs_decoder_reset(struct cobs_decoder *decoder)
{
    cobs_decoder_init(decoder, decoder->frame, decoder->size);
}

static void put(struct cobs_decoder *decoder, const uint8_t *bytes, size_t len)
{
    if (len > decoder->size - decoder->len) {
        decoder->overflow = true;
        return;
    }
    memcpy(decoder->frame + decoder->len, bytes, len);
    decoder->len += len;
}

/* A block that stands for a zero and nothing else: long runs of them are common. */
static size_t decode_zeroes(struct cobs_decoder *decoder, const uint8_t *bytes, size_t len)
{
    size_t count = 0;
    while (count < len && bytes[count] == 1)
        count++;
    if (count > decoder->size - decoder->len) {
        decoder->overflow = true;
    } else {
        memset(decoder->frame + decoder->len, 0, count);
        decoder->len += count;
    }
    return count;
}

/* The first byte of a block. The zero that ended the block before it is due now. */
static void begin_block(struct cobs_decoder *decoder, uint8_t code)
{
    if (decoder->zero_due)
        put(decoder, (const uint8_t[]){0}, 1);
    decoder->run = (uint8_t)(code - 1);
    decoder->zero_due = code != CODE_FULL;
    decoder->begun = true;
}

size_t cobs_decode(struct cobs_decoder *decoder, const uint8_t *bytes, size_t len, bool *ret_ended)
{
    const uint8_t *zero = len ? memchr(bytes, 0, len) : NULL;
    size_t here = zero ? (size_t)(zero - bytes) : len;
    *ret_ended = zero;
    for (size_t at = 0; at < here;) {
        if (decoder->run) {
            size_t some = here - at < decoder->run ? here - at : decoder->run;
            put(decoder, bytes + at, some);
            decoder->run = (uint8_t)(decoder->run - some);
            at += some;
            continue;
        }
        begin_block(decoder, bytes[at++]);
        if (!decoder->run && decoder->zero_due)
            at += decode_zeroes(decoder, bytes + at, here - at);
    }
    return here + (zero ? 1 : 0);
}

bool cobs_frame_whole(const struct cobs_decoder *decoder)
{
    return decoder->begun && !decoder->run && !decoder->overflow;
}
