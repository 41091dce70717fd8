// SPDX-License-Identifier: BSD-3-Clause
#include "service/poll_tuner.h"

/* The first step up from zero, and the size at which a shrinking window is worth nothing. */
#define SMALLEST_WINDOW_NS 10000u

void poll_tuner_init(struct poll_tuner *tuner, unsigned limit_us)
{
    *tuner = (struct poll_tuner){.limit_ns = (uint64_t)limit_us * 1000};
}

void poll_tuner_active(struct poll_tuner *tuner, uint64_t now_ns)
{
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

void poll_tuner_woken(struct poll_tuner *tuner, uint64_t now_ns)
{
    if (now_ns - tuner->activity_ns <= tuner->limit_ns)
        grow(tuner);
    else
        shrink(tuner);
}
