// SPDX-License-Identifier: BSD-3-Clause
/* Base64 of RFC 4648, section 4, with padding. */
#ifndef OUTBOARD_WIRE_BASE64_H
#define OUTBOARD_WIRE_BASE64_H

#include <stddef.h>
#include <sys/types.h>

/* The length of the text for len bytes. */
size_t base64_len(size_t len);
/* Writes base64_len(len) characters, without a NUL. */
void base64_encode(const void *bytes, size_t len, char *ret_text);

/* At most len / 4 * 3 bytes. Returns how many, or -EPROTO: this is no Base64. */
ssize_t base64_decode(const char *text, size_t len, void *ret_bytes);

#endif
