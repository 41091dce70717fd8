// SPDX-License-Identifier: BSD-3-Clause
#include "block/block.h"

#include "support.h"

#define SECOND_MS 1000u

/* A block of which the test says what looking at it brings. */
struct patient {
    struct block block;
    bool ends;    /* each look ends something... */
    bool renews;  /* ...and begins something else */
    bool obeys;   /* stop() ends all */
    bool lets_go; /* give_up() ends all */
    unsigned looks;
    unsigned stops;
    unsigned given_up;
};

static void reap(struct block *block)
{
    struct patient *patient = (struct patient *)block;
    patient->looks++;
    if (!patient->ends)
        return;
    block->answers++;
    block->in_flight -= !patient->renews;
}

static void stop(struct block *block)
{
    struct patient *patient = (struct patient *)block;
    assert_true(block->stops);
    patient->stops++;
    if (patient->obeys)
        block->in_flight = 0;
}

static void give_up(struct block *block)
{
    struct patient *patient = (struct patient *)block;
    patient->given_up++;
    if (patient->lets_go)
        block->in_flight = 0;
}

static const struct block_ops ops = {.reap = reap, .stop = stop, .give_up = give_up};

static struct patient make(unsigned in_flight)
{
    return (struct patient){.block = {.ops = &ops, .in_flight = in_flight}};
}

/* Looks at the blocks until the drain is over, many times a millisecond. */
static void drain(struct block *const blocks[], unsigned count, unsigned timeout_ms)
{
    struct block_drain drain;
    uint64_t now_ms = 0;
    block_drain_begin(&drain, blocks, count, timeout_ms, now_ms);
    for (unsigned looks = 1; !block_drain_step(&drain, now_ms); looks++) {
        for (unsigned i = 0; i < count; i++)
            if (blocks[i]->in_flight > 0)
                blocks[i]->ops->reap(blocks[i]);
        now_ms = looks / 1000;
    }
    assert_true(now_ms <= timeout_ms);
    assert_false(drain.runs);
}

static void a_drain_stops_and_gives_up_in_its_time(void **state)
{
    struct patient silent = make(1);
    struct block *blocks[] = {&silent.block};
    struct block_drain ending;
    block_drain_begin(&ending, blocks, 1, 1000, 7000);
    assert_int_equal(block_drain_next_ms(&ending), 7500);
    assert_false(block_drain_step(&ending, 7499));
    assert_int_equal(silent.stops, 0);
    assert_false(block_drain_step(&ending, 7500));
    assert_int_equal(silent.stops, 1);
    assert_int_equal(block_drain_next_ms(&ending), 8000);
    assert_false(block_drain_step(&ending, 7999));
    assert_int_equal(silent.given_up, 0);
    assert_true(block_drain_step(&ending, 8000));
    assert_int_equal(silent.given_up, 1);
    assert_false(silent.block.stops);
    assert_true(block_drain_step(&ending, 8001));
    assert_int_equal(silent.given_up, 1);
}

static void what_ends_is_waited_for(void **state)
{
    struct patient first = make(3);
    struct patient second = make(5);
    struct block *blocks[] = {&first.block, &second.block};
    // cppcheck-suppress unreadVariable ; its block is the first member
    first.ends = second.ends = true;
    drain(blocks, 2, 3600 * SECOND_MS);
    assert_int_equal(first.block.in_flight + second.block.in_flight, 0);
    assert_int_equal(first.stops + second.stops + first.given_up + second.given_up, 0);
}

static void nothing_in_flight_is_not_waited_for(void **state)
{
    struct patient idle = make(0);
    struct block *blocks[] = {&idle.block};
    drain(blocks, 1, 3600 * SECOND_MS);
    assert_int_equal(idle.looks, 0);
}

/* It would last for ever if each end of something were waited for anew. */
static void what_renews_itself_is_stopped(void **state)
{
    struct patient endless = make(1);
    struct block *blocks[] = {&endless.block};
    // cppcheck-suppress unreadVariable ; its block is the first member
    endless.ends = endless.renews = endless.obeys = true;
    drain(blocks, 1, 10);
    assert_int_equal(endless.stops, 1);
    assert_int_equal(endless.given_up, 0);
    assert_false(endless.block.stops);
    assert_false(endless.block.stuck);
}

static void what_can_not_be_stopped_is_given_up(void **state)
{
    struct patient silent = make(1);
    struct block *blocks[] = {&silent.block};
    // cppcheck-suppress unreadVariable ; its block is the first member
    silent.lets_go = true;
    drain(blocks, 1, 10);
    assert_int_equal(silent.stops, 1);
    assert_int_equal(silent.given_up, 1);
    assert_false(silent.block.stops || silent.block.stuck);
}

static void the_others_are_not_given_up_for_one_that_hangs(void **state)
{
    struct patient silent = make(1);
    struct patient healthy = make(100);
    struct block *blocks[] = {&silent.block, &healthy.block};
    // cppcheck-suppress unreadVariable ; its block is the first member
    healthy.ends = true;
    drain(blocks, 2, 10);
    assert_int_equal(healthy.block.in_flight, 0);
    assert_int_equal(healthy.given_up, 0);
}

static void one_that_hangs_is_waited_for_once(void **state)
{
    struct patient silent = make(1);
    struct block *blocks[] = {&silent.block};
    drain(blocks, 1, 10);
    assert_true(silent.block.stuck);
    silent.looks = 0;
    drain(blocks, 1, 3600 * SECOND_MS);
    assert_int_equal(silent.looks, 1);
    // cppcheck-suppress unreadVariable ; its block is the first member
    silent.ends = true; /* it goes on */
    drain(blocks, 1, 3600 * SECOND_MS);
    assert_int_equal(silent.block.in_flight, 0);
}

/* Time passes; returns whether the block is silent. */
static bool look(struct block_silence *silence, const struct block *block, uint64_t now_ms)
{
    return block_is_silent(silence, block, now_ms, SECOND_MS);
}

static void slow_is_not_hung(void **state)
{
    struct block_silence silence = {0};
    struct block block = {.in_flight = 8};
    for (uint64_t now_ms = 0; now_ms < 3600 * SECOND_MS; now_ms += SECOND_MS - 1) {
        block.answers++;
        assert_false(look(&silence, &block, now_ms));
    }
}

static void silence_begins_with_the_last_answer(void **state)
{
    struct block_silence silence = {0};
    struct block block = {.in_flight = 8};
    block.answers++;
    assert_false(look(&silence, &block, 100 * SECOND_MS));
    assert_false(look(&silence, &block, 101 * SECOND_MS - 1));
    assert_true(look(&silence, &block, 101 * SECOND_MS));
}

static void silence_begins_at_the_beginning(void **state)
{
    struct block_silence silence;
    struct block block = {.in_flight = 8, .answers = 3};
    block_silence_begin(&silence, &block, 100 * SECOND_MS);
    assert_false(look(&silence, &block, 101 * SECOND_MS - 1));
    assert_true(look(&silence, &block, 101 * SECOND_MS));
}

static void an_idle_block_is_not_silent(void **state)
{
    struct block_silence silence = {0};
    struct block block = {0};
    assert_false(look(&silence, &block, 100 * SECOND_MS));
    assert_false(look(&silence, &block, 200 * SECOND_MS));
    block.in_flight = 1;
    assert_false(look(&silence, &block, 201 * SECOND_MS - 1));
    assert_true(look(&silence, &block, 201 * SECOND_MS));
}

static void signs_of_life_count_for_a_while(void **state)
{
    struct block_silence silence = {0};
    struct block block = {.in_flight = 1};
    uint64_t now_ms = 0;
    for (; now_ms < (uint64_t)BLOCK_ANSWER_FACTOR * SECOND_MS; now_ms += SECOND_MS / 2) {
        assert_false(look(&silence, &block, now_ms));
        block.signs++;
    }
    assert_true(look(&silence, &block, now_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_drain_stops_and_gives_up_in_its_time),
        TEST(what_ends_is_waited_for),
        TEST(nothing_in_flight_is_not_waited_for),
        TEST(what_renews_itself_is_stopped),
        TEST(what_can_not_be_stopped_is_given_up),
        TEST(the_others_are_not_given_up_for_one_that_hangs),
        TEST(one_that_hangs_is_waited_for_once),
        TEST(slow_is_not_hung),
        TEST(silence_begins_with_the_last_answer),
        TEST(silence_begins_at_the_beginning),
        TEST(an_idle_block_is_not_silent),
        TEST(signs_of_life_count_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
