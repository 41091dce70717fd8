// SPDX-License-Identifier: BSD-3-Clause
/* Register accesses: values as little-endian bytes, and transfers cut into registers. */
#ifndef OUTBOARD_BASE_ACCESS_H
#define OUTBOARD_BASE_ACCESS_H

#include <stddef.h>
#include <stdint.h>

static inline void access_put(uint8_t *to, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t access_get(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* The largest naturally aligned access that a transfer may begin with; widest is a power of two. */
static inline unsigned access_piece(uint64_t offset, size_t len, unsigned widest)
{
    unsigned size = widest;
    while (size > len || offset % size)
        size /= 2;
    return size;
}

/* The value of a read that nothing answers. */
static inline uint64_t access_ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

#endif
