// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/backoff.h"

#include "support.h"

#define NS_PER_S 1000000000ull

/* It waits about as long as it has waited already, and not for ever. */
static void opening_is_tried_ever_more_rarely(void **state)
{
    struct backoff backoff;
    uint64_t before = 0, wait = 0, waited = 0;
    backoff_init(&backoff);
    for (int i = 0; i < 1000; i++, before = wait) {
        wait = backoff_failed(&backoff);
        assert_true(wait >= before && wait <= waited + BACKOFF_FIRST_NS);
        waited += wait;
    }
    assert_int_equal(wait, BACKOFF_OPEN_NS);
    assert_true(wait >= 10 * NS_PER_S);
}

/* Nobody behind it yet, or one who takes what we say for noise: a line of his log for each try. */
static void what_opens_and_is_silent_is_tried_once_a_second(void **state)
{
    struct backoff backoff;
    uint64_t wait = 0;
    backoff_init(&backoff);
    for (int i = 0; i < 20; i++)
        wait = backoff_unheard(&backoff);
    assert_int_equal(wait, BACKOFF_UNHEARD_NS);
    assert_int_equal(backoff_failed(&backoff), 2 * BACKOFF_UNHEARD_NS);
}

/* One that opens and brings no session: a hundred tries take most of an hour. */
static void what_brings_no_session_comes_back_ever_more_slowly(void **state)
{
    struct backoff backoff;
    uint64_t now = 1, before = 0;
    backoff_init(&backoff);
    for (int i = 0; i < 100; i++) {
        uint64_t wait = backoff_lost(&backoff, now);
        assert_true(wait >= before && wait <= BACKOFF_LAST_NS);
        before = wait;
        now += wait;
    }
    assert_int_equal(before, BACKOFF_LAST_NS);
    assert_true(now > 40 * 60 * NS_PER_S);
}

/* So do two ends that take a channel from each other: each of their sessions stands for a moment.
 */
static void sessions_that_do_not_last_make_no_difference(void **state)
{
    struct backoff backoff;
    uint64_t now = 1, wait = 0;
    backoff_init(&backoff);
    for (int i = 0; i < 20; i++, now += wait) {
        backoff_stands(&backoff, now);
        wait = backoff_lost(&backoff, now + NS_PER_S / 2);
    }
    assert_int_equal(wait, BACKOFF_LAST_NS);
}

static void a_session_that_lasts_forgives_everything(void **state)
{
    struct backoff backoff;
    uint64_t now = 1;
    backoff_init(&backoff);
    for (int i = 0; i < 20; i++)
        backoff_lost(&backoff, now);
    backoff_stands(&backoff, now);
    now += BACKOFF_STEADY_NS;
    assert_int_equal(backoff_lost(&backoff, now), BACKOFF_FIRST_NS);
}

/* An end that is killed again and again as soon as it stands still finds the next session soon. */
static void a_few_breaks_in_a_row_are_ordinary(void **state)
{
    struct backoff backoff;
    uint64_t now = 1, waited = 0;
    backoff_init(&backoff);
    for (int i = 0; i < 6; i++) {
        backoff_stands(&backoff, now);
        waited += backoff_lost(&backoff, now);
        backoff_failed(&backoff);
    }
    assert_true(waited < NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opening_is_tried_ever_more_rarely),
        TEST(what_opens_and_is_silent_is_tried_once_a_second),
        TEST(what_brings_no_session_comes_back_ever_more_slowly),
        TEST(sessions_that_do_not_last_make_no_difference),
        TEST(a_session_that_lasts_forgives_everything),
        TEST(a_few_breaks_in_a_row_are_ordinary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
