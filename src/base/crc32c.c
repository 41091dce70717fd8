// SPDX-License-Identifier: BSD-3-Clause
#include "base/crc32c.h"

#include <string.h>

/* The remainders of the sixteen nibbles for the reflected polynomial 0x82f63b78. */
static const uint32_t nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *bytes,
                                                                 size_t len)
{
    const uint8_t *at = bytes;
    uint64_t rest = ~crc;
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        rest = __builtin_ia32_crc32di(rest, word);
    }
    for (; len; at++, len--)
        rest = __builtin_ia32_crc32qi((uint32_t)rest, *at);
    return ~(uint32_t)rest;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(crc, bytes, len)
                                            : crc32c_by_table(crc, bytes, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
    return crc32c_by_table(crc, bytes, len);
}

#endif
