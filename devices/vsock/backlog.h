// SPDX-License-Identifier: BSD-3-Clause
/*
 * Backlog: bytes of the guest that the host's socket has not yet taken.
 *
 * Of a stream they are bytes. Of a seqpacket connection they are messages: only whole ones are
 * handed out, one at a time.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_BACKLOG_H
#define OUTBOARD_DEVICES_VSOCK_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that a message takes besides its own. The guest's credit does not count them. */
#define BACKLOG_PER_MESSAGE sizeof(uint32_t)

/* Zero-initialised; no memory is held while it is empty. */
struct backlog {
    uint8_t *bytes;
    size_t begin, end, size;
    bool in_message; /* the last message is not whole yet */
    size_t last;     /* where it begins, while in_message */
};

/* Adds room for bytes of a stream, at the end. Returns where to copy them, or NULL: no memory. */
uint8_t *backlog_add(struct backlog *backlog, size_t len);

/* As backlog_add() for a fragment of a message. ends: it is the last one of that message. */
uint8_t *backlog_add_fragment(struct backlog *backlog, size_t len, bool ends);

/* The bytes to hand out next: all of a stream's, or those of the first message. NULL: nothing is
 * complete. */
const uint8_t *backlog_first(const struct backlog *backlog, bool messages, size_t *ret_len);

/* Takes bytes of a stream, or the whole first message, away. */
void backlog_drop(struct backlog *backlog, bool messages, size_t len);

static inline bool backlog_is_empty(const struct backlog *backlog)
{
    return backlog->begin == backlog->end;
}

void backlog_clear(struct backlog *backlog);

#endif
