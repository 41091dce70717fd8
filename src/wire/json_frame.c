// SPDX-License-Identifier: BSD-3-Clause
#include "wire/json_frame.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define FIRST_SIZE 512
#define KEEP_SIZE  65536 /* memory that is kept between two values */

void json_frame_init(struct json_frame *frame)
{
    *frame = (struct json_frame){0};
}

void json_frame_done(struct json_frame *frame)
{
    free(frame->bytes);
    json_frame_init(frame);
}

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* A byte that no value has, in a string or out of it. */
static bool ends_recovery(unsigned char byte)
{
    return (byte < ' ' && byte != '\t') || byte >= 0xfe;
}

static enum json_frame_event fail(struct json_frame *frame, enum json_frame_state state,
                                  const char *fault)
{
    frame->state = state;
    frame->fault = fault;
    frame->fault_at = frame->offset;
    frame->len = 0;
    return JSON_FRAME_FAULT;
}

static void begin(struct json_frame *frame)
{
    if (frame->size > KEEP_SIZE) {
        free(frame->bytes);
        frame->bytes = NULL;
        frame->size = 0;
    }
    frame->len = 0;
    frame->depth = 0;
    frame->state = JSON_FRAME_BETWEEN;
}

static bool make_room(struct json_frame *frame)
{
    if (frame->len < frame->size)
        return true;
    size_t size = frame->size ? 2 * frame->size : FIRST_SIZE;
    char *grown = realloc(frame->bytes, size);
    if (!grown)
        return false;
    frame->bytes = grown;
    frame->size = size;
    return true;
}

static enum json_frame_event keep(struct json_frame *frame, char byte)
{
    if (frame->len >= (frame->max ? frame->max : LIMIT_JSON_TEXT))
        return fail(frame, JSON_FRAME_LOST, "the request is too long");
    if (!make_room(frame))
        return fail(frame, JSON_FRAME_LOST, "out of memory");
    frame->bytes[frame->len++] = byte;
    return JSON_FRAME_MORE;
}

/* A byte of a value outside its strings. */
static enum json_frame_event take_inside(struct json_frame *frame, char byte)
{
    if (byte == '"' || byte == '\'') {
        frame->state = JSON_FRAME_STRING;
        frame->quote = byte;
    } else if (byte == '{' || byte == '[') {
        frame->state = JSON_FRAME_INSIDE;
        if (++frame->depth > LIMIT_JSON_DEPTH)
            return fail(frame, JSON_FRAME_LOST, "too many nested values");
    } else if (byte == '}' || byte == ']') {
        frame->depth--;
    }
    enum json_frame_event event = keep(frame, byte);
    if (event != JSON_FRAME_MORE || frame->depth > 0)
        return event;
    frame->state = JSON_FRAME_DONE;
    return JSON_FRAME_VALUE;
}

static enum json_frame_event take_outside(struct json_frame *frame, char byte)
{
    bool starts = byte == '{' || byte == '[';
    if (frame->state == JSON_FRAME_LOST || !starts) {
        if (ends_recovery((unsigned char)byte))
            frame->state = JSON_FRAME_BETWEEN;
        else if (frame->state == JSON_FRAME_BETWEEN && !is_space((unsigned char)byte))
            return fail(frame, JSON_FRAME_NOISE, "'{' was expected");
        return JSON_FRAME_MORE;
    }
    begin(frame);
    return take_inside(frame, byte);
}

static enum json_frame_event take_byte(struct json_frame *frame, char byte)
{
    switch (frame->state) {
    case JSON_FRAME_DONE:
        begin(frame);
        return take_outside(frame, byte);
    case JSON_FRAME_INSIDE:
    case JSON_FRAME_STRING:
    case JSON_FRAME_ESCAPE:
        break;
    default:
        return take_outside(frame, byte);
    }
    bool is_string = frame->state != JSON_FRAME_INSIDE;
    if (ends_recovery((unsigned char)byte) && (is_string || !is_space((unsigned char)byte)))
        return fail(frame, JSON_FRAME_BETWEEN, "a control character or FF stands in a value");
    if (!is_string)
        return take_inside(frame, byte);
    if (frame->state == JSON_FRAME_ESCAPE)
        frame->state = JSON_FRAME_STRING;
    else if (byte == '\\')
        frame->state = JSON_FRAME_ESCAPE;
    else if (byte == frame->quote)
        frame->state = JSON_FRAME_INSIDE;
    return keep(frame, byte);
}

size_t json_frame_take(struct json_frame *frame, const char *bytes, size_t len,
                       enum json_frame_event *ret_event)
{
    *ret_event = JSON_FRAME_MORE;
    for (size_t i = 0; i < len; i++) {
        *ret_event = take_byte(frame, bytes[i]);
        frame->offset++;
        if (*ret_event != JSON_FRAME_MORE)
            return i + 1;
    }
    return len;
}
