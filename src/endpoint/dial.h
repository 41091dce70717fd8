// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dial: connects to an address without waiting: resolves its name if it has one, and tries the
 * addresses one after the other.
 *
 * A dialer has all dials of one owner. It bounds their number: when there are LIMIT_DIALS, the one
 * that has waited longest gives way. So it is with LIMIT_LOOKUPS names that are being looked up.
 */
#ifndef OUTBOARD_ENDPOINT_DIAL_H
#define OUTBOARD_ENDPOINT_DIAL_H

#include "base/list.h"
#include "endpoint/address.h"
#include "endpoint/rules.h"
#include "os/child.h"
#include "os/loop.h"
#include "os/timer.h"

struct dial;
struct outside;

struct dialer {
    struct loop *loop;
    struct timers *timers;
    struct children *children; /* resolve names */
    struct list dials;         /* the oldest first */
    unsigned count;
    unsigned lookups;        /* dials whose names are being looked up */
    struct outside *outside; /* who connects, by rules of its own; NULL: this process */
};

/* All three must outlive the dials. */
void dialer_init(struct dialer *dialer, struct loop *loop, struct timers *timers,
                 struct children *children);

/* fd: connected, non-blocking, the callee's; or -EACCES (the rules forbid it), -ENOENT (no such
 * name), -ETIMEDOUT, or the last errno of connect(2). The dial is freed before. */
typedef void (*dial_fn)(void *argument, int fd);

/* Starts. rules: which addresses are allowed, NULL: all; they must outlive the dial. 0 or a
 * negative errno; the answer comes from the loop, never from within. */
int dial_start(struct dialer *dialer, const struct address *address, const struct rules *rules,
               dial_fn done, void *argument, struct dial **ret_dial);
/* No answer comes. NULL is fine. */
void dial_cancel(struct dial *dial);

#endif
