// SPDX-License-Identifier: BSD-3-Clause
#include "wire/utf8.h"

size_t utf8_put(uint32_t code_point, char ret_bytes[UTF8_MAX])
{
    if (code_point > 0 && code_point < 0x80) {
        ret_bytes[0] = (char)code_point;
        return 1;
    }
    size_t len = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        ret_bytes[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    ret_bytes[0] = (char)(marks[len] | code_point);
    return len;
}

size_t utf8_get(const char *bytes, size_t len, uint32_t *ret_code_point)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (len == 0)
        return 0;
    uint8_t first = (uint8_t)bytes[0];
    size_t want = first < 0x80                    ? 1
                  : first >= 0xc0 && first < 0xe0 ? 2
                  : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf8 ? 4
                                                  : 0;
    if (want == 0 || want > len)
        return 0;
    uint32_t code_point = want == 1 ? first : first & (0x7fu >> want);
    for (size_t i = 1; i < want; i++) {
        if (((uint8_t)bytes[i] & 0xc0) != 0x80)
            return 0;
        code_point = code_point << 6 | ((uint8_t)bytes[i] & 0x3f);
    }
    if ((code_point < lowest[want] && !(want == 2 && code_point == 0)) || code_point > 0x10ffff ||
        (code_point >= 0xd800 && code_point < 0xe000))
        return 0;
    *ret_code_point = code_point;
    return want;
}

size_t utf8_len(const char *bytes, size_t len)
{
    uint32_t code_point;
    return utf8_get(bytes, len, &code_point);
}
