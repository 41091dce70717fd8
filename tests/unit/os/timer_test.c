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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_next_one_is_the_earliest),
        TEST(what_is_due_is_called_once),
        TEST(callbacks_may_set_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
