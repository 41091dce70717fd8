// SPDX-License-Identifier: BSD-3-Clause
#include "program/device_timers.h"

#include "base/auto.h"
#include "os/clock.h"
#include "os/ticker.h"

void device_timers_init(struct device_timers *timers)
{
    *timers = (struct device_timers){.fd = -1, .armed_ns = TIMER_NEVER};
    timers_init(&timers->set);
}

void device_timers_done(struct device_timers *timers)
{
    auto_close(&timers->fd);
}

int device_timers_open(struct device_timers *timers)
{
    if (timers->fd < 0)
        timers->fd = ticker_new(0);
    return timers->fd;
}

static void arm(struct device_timers *timers)
{
    uint64_t next_ns = timers_next(&timers->set);
    if (timers->running || next_ns >= timers->armed_ns)
        return;
    ticker_set_once(timers->fd, next_ns);
    timers->armed_ns = next_ns;
}

void device_timers_ready(struct device_timers *timers)
{
    ticker_drain(timers->fd);
    timers->armed_ns = TIMER_NEVER;
    timers->running = true;
    timers_run(&timers->set, clock_now_ns());
    timers->running = false;
    arm(timers);
}

/* A time that is past counts as now: a timer that is always set to one would be the first for ever,
 * and nothing else would have a turn. */
void device_timers_set(struct device_timers *timers, struct timer *timer, uint64_t at_ns)
{
    uint64_t now_ns = clock_now_ns();
    timer_set(&timers->set, timer, at_ns > now_ns ? at_ns : now_ns);
    arm(timers);
}
