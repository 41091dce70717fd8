// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dial: connects to an address without waiting: resolves its name where it has one, and tries what
 * it resolved to one after the other.
 */
#ifndef OUTBOARD_ENDPOINT_DIAL_H
#define OUTBOARD_ENDPOINT_DIAL_H

#include "endpoint/address.h"
#include "endpoint/rules.h"

struct dial;
struct proxy;

/* fd: connected, non-blocking, the callee's; or -EACCES (the rules forbid it), -ENOENT (no such
 * name), -ETIMEDOUT, or what connect(2) said last. The dial is freed before. */
typedef void (*dial_fn)(void *argument, int fd);

/* Starts. rules: which addresses are allowed, NULL: all; they must outlive the dial. 0 or a
 * negative errno; the answer comes from the loop, never from within. */
int dial_start(struct proxy *proxy, const struct address *address, const struct rules *rules,
               dial_fn done, void *argument, struct dial **ret_dial);
/* No answer comes. NULL is fine. */
void dial_cancel(struct dial *dial);

#endif
