// SPDX-License-Identifier: BSD-3-Clause
/*
 * Poll tuner: how long a server polls for the next message before it blocks.
 *
 * Waking a blocked thread costs more than most messages cost to answer, so it pays to poll as long
 * as the next message comes soon; polling for one that comes late only burns the processor. The
 * window starts at zero. A block that ended within the limit would have been saved by polling: the
 * window grows. A block that lasted longer shows that polling was useless: the window shrinks. A
 * device that is called every now and then thus ends at zero and polls no more.
 *
 * How long a block lasted includes the waking, which on a busy machine can take longer than the
 * limit while the message had been there in no time. So a block that may have been that short
 * counts as such until it is put to the test: when the whole limit was polled without success a few times,
 * with no message caught between, the benefit of the doubt is gone for a while.
 *
 * A server that waits for something else besides, a disk, learns about that time by a tuner of its
 * own: a block that ends without a message tells it that polling was useless.
 *
 * Pure: the caller passes the time in.
 */
#ifndef OUTBOARD_PROGRAM_POLL_TUNER_H
#define OUTBOARD_PROGRAM_POLL_TUNER_H

#include <stdbool.h>
#include <stdint.h>

struct poll_tuner {
    uint64_t limit_ns;    /* the window never grows beyond; 0: never poll */
    uint64_t window_ns;   /* how long to poll now */
    uint64_t activity_ns; /* when the last message was done with */
    bool woken;           /* the message at hand has ended a block */
    unsigned
        vain; /* how often the limit was polled without success since polling caught a message */
    unsigned distrust; /* the number of blocks that get no benefit of the doubt */
    unsigned missed;   /* blocks in a row that ended without a message */
};

void poll_tuner_init(struct poll_tuner *tuner, unsigned limit_us);
/* A message has been dealt with: the window starts again. */
void poll_tuner_active(struct poll_tuner *tuner, uint64_t now_ns);
/* Whether to continue polling. */
bool poll_tuner_polls(const struct poll_tuner *tuner, uint64_t now_ns);
/* A message has ended a block; learns from how long nothing came. */
void poll_tuner_woken(struct poll_tuner *tuner, uint64_t now_ns);
/* Something else has ended a block. */
void poll_tuner_missed(struct poll_tuner *tuner);

#endif
