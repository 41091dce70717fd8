// SPDX-License-Identifier: BSD-3-Clause
#include "wire/cobs.h"

#include <string.h>

/* The code of a block of 254 bytes after which no zero is left out. */
#define CODE_FULL 255

size_t cobs_encode(uint8_t *out, const uint8_t *bytes, size_t len)
{
    uint8_t *at = out;
    for (;;) {
        size_t most = len < CODE_FULL - 1 ? len : CODE_FULL - 1;
        const uint8_t *zero = most ? memchr(bytes, 0, most) : NULL;
        size_t run = zero ? (size_t)(zero - bytes) : most;
        *at++ = (uint8_t)(run + 1);
        if (run)
            memcpy(at, bytes, run);
        at += run;
        size_t taken = run + (zero ? 1 : 0);
        bytes += taken;
        len -= taken;
        if (!len && !zero)
            return (size_t)(at - out);
    }
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
        if (!decoder->run) {
            begin_block(decoder, bytes[at++]);
            continue;
        }
        size_t some = here - at < decoder->run ? here - at : decoder->run;
        put(decoder, bytes + at, some);
        decoder->run = (uint8_t)(decoder->run - some);
        at += some;
    }
    return here + (zero ? 1 : 0);
}

bool cobs_frame_whole(const struct cobs_decoder *decoder)
{
    return decoder->begun && !decoder->run && !decoder->overflow;
}
