// SPDX-License-Identifier: BSD-3-Clause
/*
 * Timers of a loop: whoever waits asks timers_next() how long, and calls timers_run() afterwards.
 * They are few, so a list that is looked through does. Embedded in their owners; one thread.
 */
#ifndef OUTBOARD_OS_TIMER_H
#define OUTBOARD_OS_TIMER_H

#include <stdint.h>

#include "base/list.h"

#define TIMER_NEVER UINT64_MAX

typedef void (*timer_fn)(void *argument);

struct timer {
    struct list link; /* in no list: not set */
    uint64_t at_ns;
    timer_fn due;
    void *argument;
};

struct timers {
    struct list set;
};

void timers_init(struct timers *timers);
/* When the next one is due, TIMER_NEVER without one. */
uint64_t timers_next(const struct timers *timers);
/* Calls what is due; each is unset before. A callback may set and cancel any timer. */
void timers_run(struct timers *timers, uint64_t now_ns);

void timer_init(struct timer *timer, timer_fn due, void *argument);
/* Sets it, or sets it anew, to a time of clock_now_ns(). */
void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns);
void timer_cancel(struct timer *timer);

#endif
