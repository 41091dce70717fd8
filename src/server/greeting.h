// SPDX-License-Identifier: BSD-3-Clause
/*
 * Greeting: the first message of a peer, before anybody serves it.
 *
 * A peer of either wire speaks first, and its third byte gives it away:
 *
 *   mpqemu     u32 command: SYNC_SYSMEM, which is 0 in the shipped dialect and 1 in the v8 one
 *   vfio-user  u16 message id, any; u16 command: VERSION, which is 1
 *
 * So the third byte is 0 on mpqemu and 1 on vfio-user. Anything else is neither, and mpqemu's
 * engine tells the peer off as well as another would. Both have a header of 16 bytes, which says
 * how long the message is.
 */
#ifndef OUTBOARD_SERVER_GREETING_H
#define OUTBOARD_SERVER_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/engine.h"

/* So many bytes tell the wire... */
#define GREETING_TELLS_LEN 3u
/* ...and so many will do for all of the message: what is left in the socket takes room there, and
 * one who sends byte by byte would run out of it. */
#define GREETING_LEN 64u

#define GREETING_ANSWER_LEN 16u

struct greeting {
    const struct engine_ops *wire; /* NULL: too short to tell */
    bool has_header;
    bool is_enough; /* all of it, or GREETING_LEN, or it opens no wire */
};

struct greeting greeting_judge(const uint8_t *bytes, size_t len);

/* Writes the answer, of GREETING_ANSWER_LEN bytes, by which a peer with that header learns that the
 * device is busy. False: its wire has none. */
bool greeting_answer_busy(const uint8_t *bytes, uint8_t *ret_answer);

#endif
