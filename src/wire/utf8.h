// SPDX-License-Identifier: BSD-3-Clause
/* UTF-8, in which U+0000 may also be C0 80, as QMP has it. */
#ifndef OUTBOARD_WIRE_UTF8_H
#define OUTBOARD_WIRE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX 4

/* Writes a code point, U+0000 as C0 80. Returns its length. */
size_t utf8_put(uint32_t code_point, char ret_bytes[UTF8_MAX]);

/* The length of the character at bytes; 0: the bytes are no character. */
size_t utf8_len(const char *bytes, size_t len);

/* Likewise, and the code point. */
size_t utf8_get(const char *bytes, size_t len, uint32_t *ret_code_point);

#endif
