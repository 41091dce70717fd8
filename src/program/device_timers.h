// SPDX-License-Identifier: BSD-3-Clause
/*
 * The timers of one device, behind one descriptor that becomes readable when the first of them is
 * due. The descriptor is made with the first timer, and set only for a timer that is due before all
 * others. So a cancelled timer may cost a wake-up, but no system call.
 */
#ifndef OUTBOARD_PROGRAM_DEVICE_TIMERS_H
#define OUTBOARD_PROGRAM_DEVICE_TIMERS_H

#include <stdbool.h>

#include "os/timer.h"

struct device_timers {
    struct timers set;
    int fd;            /* -1: none yet */
    uint64_t armed_ns; /* when the descriptor becomes readable; TIMER_NEVER: not at all */
    bool running;      /* callbacks are being called; the descriptor is set afterwards */
};

void device_timers_init(struct device_timers *timers);
void device_timers_done(struct device_timers *timers);

/* Makes the descriptor, unless it is there. Returns it or a negative errno; it stays the timers'.
 */
int device_timers_open(struct device_timers *timers);
/* The descriptor is readable: calls the timers that are due. */
void device_timers_ready(struct device_timers *timers);

/* Sets a timer to a time, or to now when that is past. */
void device_timers_set(struct device_timers *timers, struct timer *timer, uint64_t at_ns);

#endif
