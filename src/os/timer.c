// SPDX-License-Identifier: BSD-3-Clause
#include "os/timer.h"

#include <stddef.h>

void timers_init(struct timers *timers)
{
    list_init(&timers->set);
}

static struct timer *earliest(const struct timers *timers)
{
    struct timer *first = NULL;
    for (struct list *link = timers->set.next; link != &timers->set; link = link->next) {
        struct timer *timer = list_entry(link, struct timer, link);
        if (!first || timer->at_ns < first->at_ns)
            first = timer;
    }
    return first;
}

uint64_t timers_next(const struct timers *timers)
{
    const struct timer *first = earliest(timers);
    return first ? first->at_ns : TIMER_NEVER;
}

void timers_run(struct timers *timers, uint64_t now_ns)
{
    for (;;) {
        struct timer *first = earliest(timers);
        if (!first || first->at_ns > now_ns)
            return;
        timer_cancel(first);
        first->due(first->argument);
    }
}

void timer_init(struct timer *timer, timer_fn due, void *argument)
{
    *timer = (struct timer){.due = due, .argument = argument};
    list_init(&timer->link);
}

void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns)
{
    timer_cancel(timer);
    timer->at_ns = at_ns;
    list_append(&timers->set, &timer->link);
}

void timer_cancel(struct timer *timer)
{
    list_remove(&timer->link);
}
