// SPDX-License-Identifier: BSD-3-Clause
#include "wire/json_out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/base64.h"
#include "wire/utf8.h"

#define REPLACEMENT 0xfffd

void json_out_init(struct json_out *out, size_t max)
{
    *out = (struct json_out){.max = max};
}

void json_out_free(struct json_out *out)
{
    free(out->bytes);
    json_out_init(out, out->max);
}

int json_out_done(const struct json_out *out)
{
    return out->err;
}

/* Room for len bytes, or NULL. */
static char *make_room(struct json_out *out, size_t len)
{
    if (out->err == 0 && len > out->max - out->len)
        out->err = -E2BIG;
    if (out->err < 0)
        return NULL;
    if (len > out->size - out->len) {
        size_t size = out->size ? 2 * out->size : 256;
        if (size < out->len + len)
            size = out->len + len;
        char *grown = realloc(out->bytes, size);
        if (!grown) {
            out->err = -ENOMEM;
            return NULL;
        }
        out->bytes = grown;
        out->size = size;
    }
    out->len += len;
    return out->bytes + out->len - len;
}

void json_out_bytes(struct json_out *out, const void *bytes, size_t len)
{
    char *room = make_room(out, len);
    if (room)
        memcpy(room, bytes, len);
}

static void separate(struct json_out *out)
{
    if (out->needs_comma)
        json_out_bytes(out, ", ", 2);
    out->needs_comma = true;
}

void json_out_begin(struct json_out *out, char bracket)
{
    separate(out);
    json_out_bytes(out, &bracket, 1);
    out->needs_comma = false;
}

void json_out_end(struct json_out *out, char bracket)
{
    json_out_bytes(out, &bracket, 1);
    out->needs_comma = true;
}

void json_out_raw(struct json_out *out, const char *bytes, size_t len)
{
    separate(out);
    json_out_bytes(out, bytes, len);
}

static void put_unit(struct json_out *out, uint32_t unit)
{
    char text[8];
    json_out_bytes(out, text, (size_t)snprintf(text, sizeof(text), "\\u%04x", unit));
}

static void put_character(struct json_out *out, uint32_t code_point)
{
    static const char escaped[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found =
        code_point > 0 && code_point < 0x80 ? strchr(escaped, (char)code_point) : NULL;
    if (found) {
        const char pair[2] = {'\\', letters[found - escaped]};
        json_out_bytes(out, pair, 2);
    } else if (code_point >= ' ' && code_point < 0x7f) {
        const char byte = (char)code_point;
        json_out_bytes(out, &byte, 1);
    } else if (code_point >= 0x10000) {
        put_unit(out, 0xd800 + ((code_point - 0x10000) >> 10));
        put_unit(out, 0xdc00 + (code_point & 0x3ff));
    } else {
        put_unit(out, code_point);
    }
}

void json_out_text(struct json_out *out, const char *bytes, size_t len)
{
    separate(out);
    json_out_bytes(out, "\"", 1);
    for (size_t i = 0; i < len;) {
        uint32_t code_point = REPLACEMENT;
        size_t taken = utf8_get(bytes + i, len - i, &code_point);
        put_character(out, code_point);
        i += taken ? taken : 1;
    }
    json_out_bytes(out, "\"", 1);
}

void json_out_string(struct json_out *out, const char *text)
{
    json_out_text(out, text, strlen(text));
}

void json_out_base64(struct json_out *out, const void *bytes, size_t len)
{
    separate(out);
    json_out_bytes(out, "\"", 1);
    char *room = make_room(out, base64_len(len));
    if (room)
        base64_encode(bytes, len, room);
    json_out_bytes(out, "\"", 1);
}

void json_out_name(struct json_out *out, const char *name)
{
    json_out_string(out, name);
    json_out_bytes(out, ": ", 2);
    out->needs_comma = false;
}

__attribute__((format(printf, 2, 3))) static void put_format(struct json_out *out,
                                                             const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_out_raw(out, text, (size_t)len);
}

void json_out_int(struct json_out *out, int64_t value)
{
    put_format(out, "%" PRId64, value);
}

void json_out_uint(struct json_out *out, uint64_t value)
{
    put_format(out, "%" PRIu64, value);
}

/* JSON has neither infinity nor NaN. */
void json_out_real(struct json_out *out, double value)
{
    if (value - value == 0)
        put_format(out, "%.17g", value);
    else
        put_format(out, "null");
}

void json_out_bool(struct json_out *out, bool value)
{
    put_format(out, value ? "true" : "false");
}

void json_out_value(struct json_out *out, const struct json *value)
{
    switch (value->type) {
    case JSON_NULL:
        put_format(out, "null");
        break;
    case JSON_BOOL:
        json_out_bool(out, value->boolean);
        break;
    case JSON_INT:
        json_out_int(out, value->integer);
        break;
    case JSON_UINT:
        json_out_uint(out, value->unsigned_integer);
        break;
    case JSON_REAL:
        json_out_real(out, value->real);
        break;
    case JSON_STRING:
        json_out_text(out, value->text.bytes, value->text.len);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        json_out_begin(out, value->type == JSON_ARRAY ? '[' : '{');
        for (const struct json *member = value->first; member; member = member->next) {
            if (value->type == JSON_OBJECT) {
                json_out_text(out, member->name.bytes, member->name.len);
                json_out_bytes(out, ": ", 2);
                out->needs_comma = false;
            }
            json_out_value(out, member);
        }
        json_out_end(out, value->type == JSON_ARRAY ? ']' : '}');
        break;
    }
}

void json_out_member_string(struct json_out *out, const char *name, const char *text)
{
    json_out_name(out, name);
    json_out_string(out, text);
}

void json_out_member_int(struct json_out *out, const char *name, int64_t value)
{
    json_out_name(out, name);
    json_out_int(out, value);
}

void json_out_member_uint(struct json_out *out, const char *name, uint64_t value)
{
    json_out_name(out, name);
    json_out_uint(out, value);
}

void json_out_member_bool(struct json_out *out, const char *name, bool value)
{
    json_out_name(out, name);
    json_out_bool(out, value);
}
