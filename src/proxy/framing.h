// SPDX-License-Identifier: BSD-3-Clause
/* Framing: the messages if both ends of a channel are not set to the same one. */
#ifndef OUTBOARD_PROXY_FRAMING_H
#define OUTBOARD_PROXY_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy;

/* Advice for a fault of a session, if the bytes are those of another framing; else "". */
const char *framing_hint(const struct proxy *proxy, int err);

/* Whether this end reads a line, and these bytes are of a peer that takes it for a stream; then
 * proxy.trouble says so. */
bool framing_sees_stream(struct proxy *proxy, const uint8_t *bytes, size_t len);

#endif
