// SPDX-License-Identifier: BSD-3-Clause
#include "base/cursor.h"

#include <errno.h>
#include <string.h>

struct rd rd_init(const void *buf, size_t len)
{
    return (struct rd){.at = buf, .left = len};
}

const uint8_t *rd_take(struct rd *rd, size_t len)
{
    if (rd->bad || len > rd->left) {
        rd->bad = true;
        return NULL;
    }
    const uint8_t *at = rd->at;
    rd->at += len;
    rd->left -= len;
    return at;
}

static uint64_t take_le(struct rd *rd, size_t len)
{
    const uint8_t *at = rd_take(rd, len);
    uint64_t value = 0;
    for (size_t i = 0; at && i < len; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

uint8_t rd_u8(struct rd *rd)
{
    return (uint8_t)take_le(rd, 1);
}

uint16_t rd_u16(struct rd *rd)
{
    return (uint16_t)take_le(rd, 2);
}

uint32_t rd_u32(struct rd *rd)
{
    return (uint32_t)take_le(rd, 4);
}

uint64_t rd_u64(struct rd *rd)
{
    return take_le(rd, 8);
}

void rd_skip(struct rd *rd, size_t len)
{
    rd_take(rd, len);
}

void rd_bytes(struct rd *rd, void *ret_bytes, size_t len)
{
    const uint8_t *at = rd_take(rd, len);
    if (at)
        memcpy(ret_bytes, at, len);
    else
        memset(ret_bytes, 0, len);
}

int rd_done(const struct rd *rd)
{
    return rd->bad || rd->left ? -EPROTO : 0;
}

struct wr wr_init(void *buf, size_t len)
{
    return (struct wr){.at = buf, .left = len};
}

uint8_t *wr_room(struct wr *wr, size_t len)
{
    if (wr->bad || len > wr->left) {
        wr->bad = true;
        return NULL;
    }
    uint8_t *at = wr->at;
    wr->at += len;
    wr->left -= len;
    wr->len += len;
    return at;
}

static void put_le(struct wr *wr, uint64_t value, size_t len)
{
    uint8_t *at = wr_room(wr, len);
    for (size_t i = 0; at && i < len; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void wr_u8(struct wr *wr, uint8_t value)
{
    put_le(wr, value, 1);
}

void wr_u16(struct wr *wr, uint16_t value)
{
    put_le(wr, value, 2);
}

void wr_u32(struct wr *wr, uint32_t value)
{
    put_le(wr, value, 4);
}

void wr_u64(struct wr *wr, uint64_t value)
{
    put_le(wr, value, 8);
}

void wr_zero(struct wr *wr, size_t len)
{
    uint8_t *at = wr_room(wr, len);
    if (at)
        memset(at, 0, len);
}

void wr_bytes(struct wr *wr, const void *bytes, size_t len)
{
    uint8_t *at = wr_room(wr, len);
    if (at && len)
        memcpy(at, bytes, len);
}

int wr_done(const struct wr *wr)
{
    return wr->bad ? -ENOSPC : (int)wr->len;
}
