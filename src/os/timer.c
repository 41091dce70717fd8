// SPDX-License-Identifier: BSD-3-Clause
/*
 * A pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986): setting costs a comparison, taking
 * the first one a logarithm of them, amortized.
 */
#include "os/timer.h"

#include <stdbool.h>
#include <stddef.h>

#define NS_PER_MS       1000000u
#define LONGEST_WAIT_MS 60000

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

static bool is_before(const struct timer *one, const struct timer *other)
{
    return one->at_ns < other->at_ns || (one->at_ns == other->at_ns && one->number < other->number);
}

/* Makes the later one the first child of the other. Returns the earlier; NULL is no heap. */
static struct timer *merge(struct timer *one, struct timer *other)
{
    if (!one || !other)
        return one ? one : other;
    struct timer *parent = is_before(one, other) ? one : other;
    struct timer *child = parent == one ? other : one;
    child->previous = parent;
    child->next = parent->child;
    if (child->next)
        child->next->previous = child;
    parent->child = child;
    return parent;
}

/* Makes one heap of children: of pairs from the left, then of these from the right. */
static struct timer *merge_all(struct timer *children)
{
    struct timer *pairs = NULL, *heap = NULL;
    while (children) {
        struct timer *one = children, *other = one->next;
        children = other ? other->next : NULL;
        one->next = one->previous = NULL;
        if (other)
            other->next = other->previous = NULL;
        one = merge(one, other);
        one->next = pairs;
        pairs = one;
    }
    while (pairs) {
        struct timer *one = pairs;
        pairs = one->next;
        one->next = NULL;
        heap = merge(heap, one);
    }
    return heap;
}

uint64_t timers_next(const struct timers *timers)
{
    return timers->first ? timers->first->at_ns : TIMER_NEVER;
}

int timer_wait_ms(uint64_t at_ns, uint64_t now_ns)
{
    if (at_ns == TIMER_NEVER)
        return -1;
    uint64_t ms = at_ns > now_ns ? (at_ns - now_ns - 1) / NS_PER_MS + 1 : 0;
    return ms < LONGEST_WAIT_MS ? (int)ms : LONGEST_WAIT_MS;
}

void timers_run(struct timers *timers, uint64_t now_ns)
{
    while (timers->first && timers->first->at_ns <= now_ns) {
        struct timer *first = timers->first;
        timer_cancel(first);
        first->due(first->argument);
    }
}

void timer_init(struct timer *timer, timer_fn due, void *argument)
{
    *timer = (struct timer){.due = due, .argument = argument};
}

void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns)
{
    timer_cancel(timer);
    timer->set = timers;
    timer->at_ns = at_ns;
    timer->number = timers->count++;
    timers->first = merge(timers->first, timer);
}

/* Takes a timer that is not the first away from its parent, with its children. */
static void unlink_timer(struct timer *timer)
{
    if (timer->previous->child == timer)
        timer->previous->child = timer->next;
    else
        timer->previous->next = timer->next;
    if (timer->next)
        timer->next->previous = timer->previous;
    timer->next = timer->previous = NULL;
}

void timer_cancel(struct timer *timer)
{
    struct timers *timers = timer->set;
    if (!timers)
        return;
    struct timer *children = merge_all(timer->child);
    timer->child = NULL;
    timer->set = NULL;
    if (timers->first == timer) {
        timers->first = children;
    } else {
        unlink_timer(timer);
        timers->first = merge(timers->first, children);
    }
}
