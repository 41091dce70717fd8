// SPDX-License-Identifier: BSD-3-Clause
/*
 * Byte cursors: the only way in which codecs touch wire bytes.
 *
 * A reader or a writer walks a buffer and keeps a sticky error: after the first access that does
 * not fit, every later one reads zero or writes nothing, and rd_done() or wr_done() says so. A
 * codec therefore reads all of its fields in a row and checks once. Integers are little endian.
 */
#ifndef OUTBOARD_BASE_CURSOR_H
#define OUTBOARD_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
    const uint8_t *at;
    size_t left;
    bool bad;
};

struct wr {
    uint8_t *at;
    size_t left;
    size_t len; /* bytes written so far */
    bool bad;
};

struct rd rd_init(const void *buf, size_t len);
uint8_t rd_u8(struct rd *rd);
uint16_t rd_u16(struct rd *rd);
uint32_t rd_u32(struct rd *rd);
uint64_t rd_u64(struct rd *rd);
void rd_skip(struct rd *rd, size_t len);
/* The next len bytes where they are, or NULL when they are not there. */
const uint8_t *rd_take(struct rd *rd, size_t len);
/* Copies len bytes to ret_bytes; zeroes when they are not there. */
void rd_bytes(struct rd *rd, void *ret_bytes, size_t len);
/* Returns 0, or -EPROTO when a read did not fit or bytes are left over. */
int rd_done(const struct rd *rd);

struct wr wr_init(void *buf, size_t len);
void wr_u8(struct wr *wr, uint8_t value);
void wr_u16(struct wr *wr, uint16_t value);
void wr_u32(struct wr *wr, uint32_t value);
void wr_u64(struct wr *wr, uint64_t value);
void wr_zero(struct wr *wr, size_t len);
void wr_bytes(struct wr *wr, const void *bytes, size_t len);
/* Room for len bytes that the caller fills, or NULL when they do not fit. */
uint8_t *wr_room(struct wr *wr, size_t len);
/* Returns the length written, or -ENOSPC when something did not fit. */
int wr_done(const struct wr *wr);

#endif
