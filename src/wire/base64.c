// SPDX-License-Identifier: BSD-3-Clause
#include "wire/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

void base64_encode(const void *bytes, size_t len, char *ret_text)
{
    const uint8_t *at = bytes;
    for (; len > 0; at += 3, ret_text += 4) {
        size_t count = len < 3 ? len : 3;
        uint8_t whole[3] = {0};
        memcpy(whole, at, count);
        uint32_t group = (uint32_t)whole[0] << 16 | (uint32_t)whole[1] << 8 | whole[2];
        for (int i = 0; i < 4; i++)
            ret_text[i] = (size_t)i <= count ? digits[group >> (18 - 6 * i) & 63] : '=';
        len -= count;
    }
}

static int value_of(char digit)
{
    const char *found = digit ? strchr(digits, digit) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* One group of four. Returns how many bytes it has, or -EPROTO. */
static int decode_group(const char *text, uint8_t ret_bytes[3])
{
    int count = text[3] != '=' ? 3 : text[2] != '=' ? 2 : 1;
    uint32_t group = 0;
    for (int i = 0; i < 4; i++) {
        int value = i <= count ? value_of(text[i]) : 0;
        if (value < 0)
            return -EPROTO;
        group = group << 6 | (uint32_t)value;
    }
    for (int i = 0; i < count; i++)
        ret_bytes[i] = (uint8_t)(group >> (16 - 8 * i));
    return count;
}

ssize_t base64_decode(const char *text, size_t len, void *ret_bytes)
{
    uint8_t *at = ret_bytes;
    if (len % 4 != 0)
        return -EPROTO;
    for (size_t i = 0; i < len; i += 4) {
        uint8_t group[3];
        int count = decode_group(text + i, group);
        if (count < 0 || (count < 3 && i + 4 < len))
            return -EPROTO;
        memcpy(at, group, (size_t)count);
        at += count;
    }
    return at - (uint8_t *)ret_bytes;
}
