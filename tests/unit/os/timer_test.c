// SPDX-License-Identifier: BSD-3-Clause
#include "os/timer.h"

#include "support.h"

#include <stdbool.h>

struct party {
    struct timers timers;
    struct timer first, second;
    int called;
    bool again; /* a callback sets its own timer once more, and cancels the other one */
};

static void due(void *argument)
{
    struct party *party = argument;
    party->called++;
    if (!party->again)
        return;
    party->again = false;
    timer_set(&party->timers, &party->first, 50);
    timer_cancel(&party->second);
}

static void set_up(struct party *party)
{
    *party = (struct party){0};
    timers_init(&party->timers);
    timer_init(&party->first, due, party);
    timer_init(&party->second, due, party);
}

static void the_next_one_is_the_earliest(void **state)
{
    struct party party;
    set_up(&party);
    assert_true(timers_next(&party.timers) == TIMER_NEVER);
    timer_set(&party.timers, &party.first, 20);
    timer_set(&party.timers, &party.second, 10);
    assert_int_equal(timers_next(&party.timers), 10);
    timer_set(&party.timers, &party.second, 30);
    assert_int_equal(timers_next(&party.timers), 20);
}

static void what_is_due_is_called_once(void **state)
{
    struct party party;
    set_up(&party);
    timer_set(&party.timers, &party.first, 10);
    timer_set(&party.timers, &party.second, 20);
    timers_run(&party.timers, 9);
    assert_int_equal(party.called, 0);
    timers_run(&party.timers, 10);
    timers_run(&party.timers, 10);
    assert_int_equal(party.called, 1);
    timers_run(&party.timers, 100);
    assert_int_equal(party.called, 2);
    assert_true(timers_next(&party.timers) == TIMER_NEVER);
}

static void callbacks_may_set_and_cancel(void **state)
{
    struct party party;
    set_up(&party);
    party.again = true;
    timer_set(&party.timers, &party.first, 10);
    timer_set(&party.timers, &party.second, 20);
    timers_run(&party.timers, 30);
    assert_int_equal(party.called, 1);
    assert_int_equal(timers_next(&party.timers), 50);
}

#define MANY 500u

struct crowd {
    struct timers timers;
    struct member {
        struct crowd *crowd;
        struct timer timer;
        uint64_t at_ns;
        unsigned order; /* when it was last set */
    } members[MANY];
    unsigned sets;
    unsigned called;
    const struct member *last; /* that was called */
};

/* Never earlier than the one before; among those of one time, in the order of setting. */
static void in_order(void *argument)
{
    struct member *member = argument;
    struct crowd *crowd = member->crowd;
    const struct member *last = crowd->last;
    assert_true(!last || last->at_ns < member->at_ns ||
                (last->at_ns == member->at_ns && last->order < member->order));
    crowd->last = member;
    crowd->called++;
}

static void set_member(struct crowd *crowd, unsigned index, uint64_t at_ns)
{
    struct member *member = &crowd->members[index];
    member->at_ns = at_ns;
    member->order = crowd->sets++;
    timer_set(&crowd->timers, &member->timer, at_ns);
}

/* Times from a generator, so that there are equal ones and every order. */
static uint64_t next_time(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 24;
}

static uint64_t earliest(const struct crowd *crowd, unsigned step)
{
    uint64_t at_ns = TIMER_NEVER;
    for (unsigned i = 0; i < MANY; i++)
        if (i % step != 0 && crowd->members[i].at_ns < at_ns)
            at_ns = crowd->members[i].at_ns;
    return at_ns;
}

static void many_timers_come_in_their_order(void **state)
{
    static struct crowd crowd;
    uint32_t seed = 1;
    crowd = (struct crowd){0};
    timers_init(&crowd.timers);
    for (unsigned i = 0; i < MANY; i++) {
        struct member *member = &crowd.members[i];
        member->crowd = &crowd;
        timer_init(&member->timer, in_order, member);
        set_member(&crowd, i, next_time(&seed));
    }
    for (unsigned i = 0; i < MANY; i += 7) /* to another time, while they are set */
        set_member(&crowd, i, next_time(&seed));
    for (unsigned i = 0; i < MANY; i += 5)
        timer_cancel(&crowd.members[i].timer);
    for (unsigned i = 0; i < MANY; i += 10) /* fine when it is not set */
        timer_cancel(&crowd.members[i].timer);
    assert_int_equal(timers_next(&crowd.timers), earliest(&crowd, 5));
    for (uint64_t now_ns = 0; now_ns < 256; now_ns += 16) {
        timers_run(&crowd.timers, now_ns);
        assert_true(timers_next(&crowd.timers) > now_ns);
    }
    timers_run(&crowd.timers, 256);
    assert_int_equal(crowd.called, MANY - MANY / 5);
    assert_true(timers_next(&crowd.timers) == TIMER_NEVER);
}

static void waits_are_rounded_up_and_bounded(void **state)
{
    assert_int_equal(timer_wait_ms(TIMER_NEVER, 5), -1);
    assert_int_equal(timer_wait_ms(5, 5), 0);
    assert_int_equal(timer_wait_ms(5, 6), 0);
    assert_int_equal(timer_wait_ms(6, 5), 1);
    assert_int_equal(timer_wait_ms(1000000, 0), 1);
    assert_int_equal(timer_wait_ms(1000001, 0), 2);
    assert_int_equal(timer_wait_ms(TIMER_NEVER - 1, 0), 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_next_one_is_the_earliest),     TEST(what_is_due_is_called_once),
        TEST(callbacks_may_set_and_cancel),     TEST(many_timers_come_in_their_order),
        TEST(waits_are_rounded_up_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
