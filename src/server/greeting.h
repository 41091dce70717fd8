// SPDX-License-Identifier: BSD-3-Clause
/*
 * Greeting: the first message of a peer, before anybody serves it.
 *
 * A peer of every wire speaks first, and each wire recognises its own opening
 * (engine_ops.recognises()):
 *
 *   mpqemu      u32 command: SYNC_SYSMEM, 0 in the shipped dialect, 1 in the v8 one; u32; u64 size,
 *               which is 192
 *   vfio-user   u16 message id, any; u16 command: VERSION, which is 1
 *   vhost-user  u32 request: GET_FEATURES, which is 1, or another; u32 flags: 1 or 9; u32 size of
 *               that request, 0 for GET_FEATURES
 *
 * So up to 12 bytes are needed. If no wire recognises them, mpqemu's engine gets the peer, and tells
 * the fault of its first message.
 */
#ifndef OUTBOARD_SERVER_GREETING_H
#define OUTBOARD_SERVER_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/engine.h"

/* This number of bytes tells the wire, and will do for all of the message: bytes that are left in the socket take
 * room there, and one who sends byte by byte would run out of it. */
#define GREETING_LEN 64u

#define GREETING_ANSWER_LEN 16u

struct greeting {
    const struct engine_ops *wire; /* NULL: too short to tell */
    bool has_header;
    bool is_enough; /* all of it, or GREETING_LEN, or it opens no wire */
};

/* All wires that have an engine, with a NULL behind the last. */
extern const struct engine_ops *const greeting_wires[];
/* The number of one of them, and the one with a number, or NULL. */
unsigned greeting_number(const struct engine_ops *wire);
const struct engine_ops *greeting_wire(unsigned number);

struct greeting greeting_judge(const uint8_t *bytes, size_t len);

/* Writes the answer, of GREETING_ANSWER_LEN bytes, by which a peer of that wire, with that header,
 * learns that the device is busy. False: the wire has no such answer. */
bool greeting_answer_busy(const struct engine_ops *wire, const uint8_t *header,
                          uint8_t *ret_answer);

#endif
