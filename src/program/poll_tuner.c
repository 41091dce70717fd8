// SPDX-License-Identifier: BSD-3-Clause
#include "program/poll_tuner.h"

/* The first step up from zero, and the size at which a shrinking window is worth nothing. */
#define SMALLEST_WINDOW_NS 10000u

/* The time that a block may have lasted beyond the coming of its message. */
#define SLOWEST_WAKE_NS 100000u

/* The number of useless polls of the whole limit before doubts count against polling, and the number
 * of blocks for which they do: the trial's cost is then a hundredth of the time at most. */
#define TRIALS          3
#define DISTRUST_BLOCKS 1000

/* This number of blocks in a row that end without a message makes the window smaller. */
#define MISSES 8

void poll_tuner_init(struct poll_tuner *tuner, unsigned limit_us)
{
    *tuner = (struct poll_tuner){.limit_ns = (uint64_t)limit_us * 1000};
}

void poll_tuner_active(struct poll_tuner *tuner, uint64_t now_ns)
{
    if (!tuner->woken)
        tuner->vain = tuner->missed = 0;
    tuner->woken = false;
    tuner->activity_ns = now_ns;
}

bool poll_tuner_polls(const struct poll_tuner *tuner, uint64_t now_ns)
{
    return now_ns - tuner->activity_ns < tuner->window_ns;
}

static void grow(struct poll_tuner *tuner)
{
    uint64_t window = tuner->window_ns * 2;
    if (window < SMALLEST_WINDOW_NS)
        window = SMALLEST_WINDOW_NS;
    tuner->window_ns = window < tuner->limit_ns ? window : tuner->limit_ns;
}

static void shrink(struct poll_tuner *tuner)
{
    tuner->window_ns /= 2;
    if (tuner->window_ns < SMALLEST_WINDOW_NS)
        tuner->window_ns = 0;
}

/* A block that polling may have saved or not. */
static void doubt(struct poll_tuner *tuner)
{
    if (tuner->distrust > 0) {
        tuner->distrust--;
        shrink(tuner);
    } else if (tuner->window_ns < tuner->limit_ns) {
        grow(tuner);
    } else if (++tuner->vain < TRIALS) {
        shrink(tuner);
    } else {
        tuner->vain = 0;
        tuner->distrust = DISTRUST_BLOCKS;
        tuner->window_ns = 0;
    }
}

void poll_tuner_woken(struct poll_tuner *tuner, uint64_t now_ns)
{
    const uint64_t blocked_ns = now_ns - tuner->activity_ns;
    tuner->woken = true;
    tuner->missed = 0;
    if (blocked_ns <= tuner->limit_ns)
        grow(tuner);
    else if (blocked_ns <= tuner->limit_ns + SLOWEST_WAKE_NS)
        doubt(tuner);
    else
        shrink(tuner);
}

void poll_tuner_missed(struct poll_tuner *tuner)
{
    tuner->woken = true;
    if (++tuner->missed < MISSES)
        return;
    tuner->missed = 0;
    shrink(tuner);
}
