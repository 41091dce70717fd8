// SPDX-License-Identifier: BSD-3-Clause
/*
 * Writes JSON text. Errors stick: after one, nothing more is written, and json_out_done() tells.
 * All text is ASCII; other characters are \uXXXX.
 */
#ifndef OUTBOARD_WIRE_JSON_OUT_H
#define OUTBOARD_WIRE_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/json.h"

struct json_out {
    char *bytes;
    size_t len, size;
    size_t max;       /* -E2BIG beyond */
    bool needs_comma; /* before the next value or member */
    int err;
};

void json_out_init(struct json_out *out, size_t max);
void json_out_free(struct json_out *out);

void json_out_begin(struct json_out *out, char bracket); /* '{' or '[' */
void json_out_end(struct json_out *out, char bracket);   /* '}' or ']' */
/* Before each member's value. */
void json_out_name(struct json_out *out, const char *name);

/* Bytes that are no UTF-8 become U+FFFD. */
void json_out_text(struct json_out *out, const char *bytes, size_t len);
void json_out_string(struct json_out *out, const char *text);
void json_out_base64(struct json_out *out, const void *bytes, size_t len);
void json_out_int(struct json_out *out, int64_t value);
void json_out_uint(struct json_out *out, uint64_t value);
void json_out_real(struct json_out *out, double value);
void json_out_bool(struct json_out *out, bool value);
void json_out_value(struct json_out *out, const struct json *value);
/* Text that is JSON already. */
void json_out_raw(struct json_out *out, const char *bytes, size_t len);
/* Bytes between values, such as a newline behind one. */
void json_out_bytes(struct json_out *out, const void *bytes, size_t len);

/* Name and value of a member. */
void json_out_member_string(struct json_out *out, const char *name, const char *text);
void json_out_member_int(struct json_out *out, const char *name, int64_t value);
void json_out_member_uint(struct json_out *out, const char *name, uint64_t value);
void json_out_member_bool(struct json_out *out, const char *name, bool value);

/* 0, -ENOMEM or -E2BIG. */
int json_out_done(const struct json_out *out);

#endif
