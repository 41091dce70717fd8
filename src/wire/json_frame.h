// SPDX-License-Identifier: BSD-3-Clause
/*
 * Finds requests in a stream of bytes: each is a JSON object or array, with nothing between them
 * but white space. Bytes come in any pieces.
 *
 * FF resets: the part of a value before it is dropped. Behind bytes that can't be part of a value, all is
 * dropped up to the next newline or other control character, or FF or FE, which no UTF-8 has; noise
 * in front of a value also ends where one begins.
 */
#ifndef OUTBOARD_WIRE_JSON_FRAME_H
#define OUTBOARD_WIRE_JSON_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum json_frame_event {
    JSON_FRAME_MORE,  /* all bytes are taken, and more are needed */
    JSON_FRAME_VALUE, /* frame.bytes, frame.len: a value, to be parsed before the next call */
    JSON_FRAME_FAULT, /* frame.fault, frame.fault_at: bytes that can't be part of one */
};

enum json_frame_state {
    JSON_FRAME_BETWEEN, /* white space */
    JSON_FRAME_NOISE,
    JSON_FRAME_LOST,
    JSON_FRAME_INSIDE,
    JSON_FRAME_STRING,
    JSON_FRAME_ESCAPE, /* behind a backslash in a string */
    JSON_FRAME_DONE,   /* a value was given */
};

struct json_frame {
    enum json_frame_state state;
    char quote; /* of the string */
    unsigned depth;
    char *bytes; /* of the value so far */
    size_t len, size;
    size_t max;      /* bytes that a value may have; 0: LIMIT_JSON_TEXT */
    uint64_t offset; /* in the stream, of the next byte */
    const char *fault;
    uint64_t fault_at; /* in the stream */
};

void json_frame_init(struct json_frame *frame);
void json_frame_done(struct json_frame *frame);

/* Takes bytes up to the next event. Returns how many. A value longer than frame.max is a fault.
 */
size_t json_frame_take(struct json_frame *frame, const char *bytes, size_t len,
                       enum json_frame_event *ret_event);

#endif
