// SPDX-License-Identifier: BSD-3-Clause
#include "program/poll_tuner.h"

#include "support.h"

#define US UINT64_C(1000)

/* Messages come at equal distances. Plays a server that polls as it is told and blocks otherwise,
 * and takes so long to wake; returns how long it has polled for the last of them. */
static uint64_t play_waking(struct poll_tuner *tuner, uint64_t *now, uint64_t gap,
                            unsigned messages, uint64_t wake)
{
    uint64_t polled = 0;
    for (unsigned i = 0; i < messages; i++) {
        const uint64_t next = *now + gap;
        polled = 0;
        while (*now < next && poll_tuner_polls(tuner, *now)) {
            *now += 1 * US;
            polled += 1 * US;
        }
        if (*now < next) {
            *now = next + wake;
            poll_tuner_woken(tuner, *now);
        }
        poll_tuner_active(tuner, *now);
    }
    return polled;
}

static uint64_t play(struct poll_tuner *tuner, uint64_t *now, uint64_t gap, unsigned messages)
{
    return play_waking(tuner, now, gap, messages, 0);
}

static void starts_without_polling(void **state)
{
    struct poll_tuner tuner;
    poll_tuner_init(&tuner, 50);
    assert_false(poll_tuner_polls(&tuner, 0));
    assert_false(poll_tuner_polls(&tuner, 1000 * US));
}

static void messages_that_come_soon_are_polled_for(void **state)
{
    for (uint64_t gap = 1 * US; gap < 50 * US; gap += 7 * US) {
        struct poll_tuner tuner;
        uint64_t now = 1000 * US;
        poll_tuner_init(&tuner, 50);
        assert_int_equal(play(&tuner, &now, gap, 20), gap);
        assert_true(tuner.window_ns <= 50 * US);
    }
}

static void messages_that_come_late_are_blocked_for(void **state)
{
    for (uint64_t gap = 60 * US; gap < 100000 * US; gap *= 2) {
        struct poll_tuner tuner;
        uint64_t now = 1000 * US;
        poll_tuner_init(&tuner, 50);
        play(&tuner, &now, 5 * US, 20);
        assert_true(tuner.window_ns > 0);
        assert_int_equal(play(&tuner, &now, gap, 10), 0);
        assert_int_equal(tuner.window_ns, 0);
        assert_false(poll_tuner_polls(&tuner, now));
    }
}

static void polling_ends_with_the_window(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 50);
    play(&tuner, &now, 5 * US, 20);
    assert_true(poll_tuner_polls(&tuner, now + tuner.window_ns - 1));
    assert_false(poll_tuner_polls(&tuner, now + tuner.window_ns));
    assert_false(poll_tuner_polls(&tuner, UINT64_MAX));
}

static void a_slow_wake_is_not_taken_for_a_late_message(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 50);
    assert_int_equal(play_waking(&tuner, &now, 30 * US, 20, 60 * US), 30 * US);
}

/* Late by less than a wake may take: that it is not the wake is found out, and seldom asked. */
static void doubts_cost_little(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US, polled = 0;
    const unsigned messages = 10000;
    poll_tuner_init(&tuner, 50);
    for (unsigned i = 0; i < messages; i++)
        polled += play(&tuner, &now, 90 * US, 1);
    assert_true(polled > 0);
    assert_true(polled < 90 * US * messages / 100);
    assert_int_equal(play_waking(&tuner, &now, 30 * US, 2000, 10 * US), 30 * US);
}

static void a_limit_of_zero_never_polls(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 0);
    assert_int_equal(play(&tuner, &now, 1 * US, 100), 0);
    assert_int_equal(tuner.window_ns, 0);
}

static void a_small_limit_is_kept(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 3);
    assert_int_equal(play(&tuner, &now, 2 * US, 100), 2 * US);
    assert_int_equal(tuner.window_ns, 3 * US);
}

/* What comes is always something else than a message. */
static void blocks_without_a_message_end_polling(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 50);
    play(&tuner, &now, 5 * US, 20);
    assert_true(poll_tuner_polls(&tuner, now));
    for (unsigned i = 0; i < 50; i++) {
        now += 70 * US;
        poll_tuner_missed(&tuner);
        poll_tuner_active(&tuner, now);
    }
    assert_false(poll_tuner_polls(&tuner, now));
    assert_int_equal(play(&tuner, &now, 5 * US, 20), 5 * US);
}

/* Each time something else ends a block, and a message follows soon: that one is polled for. */
static void a_message_caught_between_is_worth_polling(void **state)
{
    struct poll_tuner tuner;
    uint64_t now = 1000 * US;
    poll_tuner_init(&tuner, 50);
    play(&tuner, &now, 5 * US, 20);
    for (unsigned i = 0; i < 50; i++) {
        now += 70 * US;
        poll_tuner_missed(&tuner);
        poll_tuner_active(&tuner, now);
        assert_int_equal(play(&tuner, &now, 5 * US, 1), 5 * US);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_without_polling),
        TEST(messages_that_come_soon_are_polled_for),
        TEST(messages_that_come_late_are_blocked_for),
        TEST(polling_ends_with_the_window),
        TEST(a_slow_wake_is_not_taken_for_a_late_message),
        TEST(doubts_cost_little),
        TEST(a_limit_of_zero_never_polls),
        TEST(a_small_limit_is_kept),
        TEST(blocks_without_a_message_end_polling),
        TEST(a_message_caught_between_is_worth_polling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
