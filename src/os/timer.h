// SPDX-License-Identifier: BSD-3-Clause
/*
 * Timers of a loop: the waiting function asks timers_next() how long, and calls timers_run() afterwards.
 * The next one is known at once, however many there are; timers that are due at the same time are
 * called in the order in which they were set. Embedded in their owners; one thread.
 */
#ifndef OUTBOARD_OS_TIMER_H
#define OUTBOARD_OS_TIMER_H

#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

typedef void (*timer_fn)(void *argument);

struct timers;

/* A node of a pairing heap: no child is due before its parent. */
struct timer {
    struct timers *set; /* among these; NULL: not set */
    struct timer *child;
    struct timer *next;     /* of the same parent */
    struct timer *previous; /* or the parent, for its first child */
    uint64_t at_ns;
    uint64_t number; /* counts how often timers were set */
    timer_fn due;
    void *argument;
};

struct timers {
    struct timer *first; /* the earliest; NULL: none is set */
    uint64_t count;      /* how often timers were set */
};

void timers_init(struct timers *timers);
/* When the next one is due, TIMER_NEVER without one. */
uint64_t timers_next(const struct timers *timers);
/* Milliseconds until a moment, for loop_wait(): -1 for TIMER_NEVER, else at most a minute. */
int timer_wait_ms(uint64_t at_ns, uint64_t now_ns);
/* Calls the timers that are due; each is unset before. A callback may set and cancel any timer. */
void timers_run(struct timers *timers, uint64_t now_ns);

void timer_init(struct timer *timer, timer_fn due, void *argument);
/* Sets it, or changes it, to a time of clock_now_ns(). */
void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns);
void timer_cancel(struct timer *timer);

#endif
