// SPDX-License-Identifier: BSD-3-Clause
/*
 * Channel: opens the channel of --channel, moves bytes between it and the session, and opens it again
 * when it went away.
 */
#ifndef OUTBOARD_PROXY_CHANNEL_H
#define OUTBOARD_PROXY_CHANNEL_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>

struct channel;
struct proxy;

/* Starts to open. Trouble that waiting will not mend is told at once: 0 or a negative errno with
 * the fault filled. */
int channel_new(struct proxy *proxy, struct channel **ret_channel, struct ob_fault *fault);
/* Closes it. NULL is fine. */
void channel_free(struct channel *channel);

enum channel_verdict {
    CHANNEL_WAITS,   /* for an event */
    CHANNEL_GOES_ON, /* more can be done at once */
    CHANNEL_OVER,    /* it has gone and can't come back */
};

/* Reads once, if there may be something. To be called between any two waits of the loop, and
 * channel_transmit() behind it. */
void channel_receive(struct channel *channel);

/* Writes as much as the channel takes. The verdict is about reading, too. */
enum channel_verdict channel_transmit(struct channel *channel);

/* Describes its state while no session stands. */
void channel_describe(const struct channel *channel, char *ret_text, size_t size);

/* The peer lives: each claimant of the channel is told so. */
void channel_on_pong(struct channel *channel);

/* It has proved good: when it goes away the next one is tried for at once. */
void channel_session_stands(struct channel *channel);

#endif
