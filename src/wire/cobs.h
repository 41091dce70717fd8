// SPDX-License-Identifier: BSD-3-Clause
/*
 * Consistent overhead byte stuffing (Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2),
 * 1999): bytes are written so that none of them is zero, which leaves the zero to mark where a
 * frame ends. Nothing that an application sends can look like the end of a frame or the start of
 * another one.
 */
#ifndef OUTBOARD_WIRE_COBS_H
#define OUTBOARD_WIRE_COBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes that len bytes become, without the zero that ends the frame. */
#define COBS_ENCODED_MAX(len) ((len) + (len) / 254 + 1)

/* Encodes len bytes; out has COBS_ENCODED_MAX(len). Returns how many were written. */
size_t cobs_encode(uint8_t *out, const uint8_t *bytes, size_t len);

/* Decodes one frame after the other into a buffer, from pieces of any size. */
struct cobs_decoder {
    uint8_t *frame;
    size_t size;   /* room in frame */
    size_t len;    /* bytes decoded so far */
    uint8_t run;   /* bytes still to copy of the block at hand */
    bool zero_due; /* the block at hand stands for a zero after it, unless the frame ends there */
    bool overflow; /* the frame did not fit */
    bool begun;    /* at least one byte of the frame is there */
};

void cobs_decoder_init(struct cobs_decoder *decoder, uint8_t *frame, size_t size);

/* Forgets the frame at hand. */
void cobs_decoder_reset(struct cobs_decoder *decoder);

/*
 * Takes bytes up to and with the next zero. Returns how many were taken; *ret_ended says whether
 * the last of them was the zero. The frame then lies in decoder->frame, and cobs_decoder_reset()
 * makes room for the next one.
 */
size_t cobs_decode(struct cobs_decoder *decoder, const uint8_t *bytes, size_t len, bool *ret_ended);

/* Whether the frame that has just ended was well formed and fitted. */
bool cobs_frame_whole(const struct cobs_decoder *decoder);

#endif
