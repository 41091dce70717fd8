// SPDX-License-Identifier: BSD-3-Clause
#include "os/loop.h"

#include "failing_alloc.h"
#include "support.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SOURCES 24 /* more than one wait brings */

struct party {
    struct loop *loop;
    struct loop_source *sources[SOURCES];
    int fds[SOURCES];
    unsigned called;
    int to_remove; /* which source the next callback removes; -1: none */
    int to_add;    /* which descriptor the next callback adds; -1: none */
};

static void ready(void *argument, uint32_t events)
{
    struct party *party = argument;
    party->called++;
    if (party->to_remove >= 0)
        loop_remove(party->sources[party->to_remove]);
    party->to_remove = -1;
    int add = party->to_add;
    party->to_add = -1;
    if (add >= 0)
        assert_int_equal(
            loop_add(party->loop, party->fds[add], EPOLLIN, ready, party, &party->sources[add]), 0);
}

/* So many eventfds, signalled, each watched. */
static void set_up(struct party *party, int count)
{
    *party = (struct party){.to_remove = -1, .to_add = -1};
    assert_int_equal(loop_new(&party->loop), 0);
    for (int i = 0; i < SOURCES; i++)
        party->fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int i = 0; i < count; i++)
        assert_int_equal(
            loop_add(party->loop, party->fds[i], EPOLLIN, ready, party, &party->sources[i]), 0);
}

static void tear_down(struct party *party)
{
    loop_free(party->loop);
    for (int i = 0; i < SOURCES; i++)
        close(party->fds[i]);
}

static void calls_whoever_is_ready(void **state)
{
    struct party party;
    set_up(&party, 2);
    eventfd_t value;
    assert_int_equal(loop_wait(party.loop, -1), 2);
    assert_int_equal(party.called, 2);
    assert_int_equal(eventfd_read(party.fds[0], &value), 0);
    assert_int_equal(loop_wait(party.loop, -1), 1);
    assert_int_equal(eventfd_read(party.fds[1], &value), 0);
    assert_int_equal(loop_wait(party.loop, 0), 0);
    assert_int_equal(party.called, 3);
    tear_down(&party);
}

static void everyone_gets_a_turn(void **state)
{
    struct party party;
    eventfd_t value;
    set_up(&party, SOURCES);
    while (loop_wait(party.loop, 0) > 0) {
        for (int i = 0; i < SOURCES && party.called >= SOURCES; i++)
            eventfd_read(party.fds[i], &value);
        assert_true(party.called < 10 * SOURCES);
    }
    assert_true(party.called >= SOURCES);
    tear_down(&party);
}

static void a_source_may_remove_itself(void **state)
{
    struct party party;
    set_up(&party, 1);
    party.to_remove = 0;
    assert_int_equal(loop_wait(party.loop, -1), 1);
    assert_int_equal(loop_wait(party.loop, 0), 0);
    assert_int_equal(party.called, 1);
    tear_down(&party);
}

/* Both are ready; whoever is called first removes the other, or itself: one call either way is
 * what a source that was removed before its turn may cost. */
static void a_removed_source_is_not_called_any_more(void **state)
{
    for (int removed = 0; removed < 2; removed++) {
        struct party party;
        set_up(&party, 2);
        party.to_remove = removed;
        assert_int_equal(loop_wait(party.loop, -1), 2);
        unsigned first_round = party.called;
        assert_true(first_round == 1 || first_round == 2);
        assert_int_equal(loop_wait(party.loop, 0), 1);
        assert_int_equal(party.called, first_round + 1);
        tear_down(&party);
    }
}

static void removal_of_another_takes_effect_at_once(void **state)
{
    struct party party;
    set_up(&party, 2);
    /* Descriptors are reported in the order in which they became ready. */
    party.to_remove = 1;
    assert_int_equal(loop_wait(party.loop, -1), 2);
    assert_int_equal(party.called, 1);
    tear_down(&party);
}

static void a_callback_may_replace_a_source(void **state)
{
    struct party party;
    set_up(&party, 1);
    party.to_remove = 0;
    party.to_add = 0; /* the same descriptor, anew */
    assert_int_equal(loop_wait(party.loop, -1), 1);
    assert_int_equal(loop_wait(party.loop, -1), 1);
    assert_int_equal(party.called, 2);
    tear_down(&party);
}

static void interest_can_change(void **state)
{
    struct party party;
    set_up(&party, 1);
    eventfd_t value;
    assert_int_equal(eventfd_read(party.fds[0], &value), 0);
    assert_int_equal(loop_wait(party.loop, 0), 0);
    assert_int_equal(loop_change(party.sources[0], EPOLLOUT), 0);
    assert_int_equal(loop_wait(party.loop, 0), 1);
    loop_remove(party.sources[0]);
    loop_remove(NULL);
    tear_down(&party);
}

static void sources_may_go_in_any_order(void **state)
{
    struct party party;
    set_up(&party, SOURCES);
    for (int i = 0; i < SOURCES; i += 3)
        loop_remove(party.sources[i]);
    party.to_remove = 1; /* one more in a callback, while others wait to be freed */
    do
        assert_true(loop_wait(party.loop, 0) > 0);
    while (party.called < SOURCES);
    for (int i = SOURCES - 1; i >= 0; i--)
        if (i % 3 == 2)
            loop_remove(party.sources[i]);
    eventfd_t value;
    for (int i = 0; i < SOURCES; i++)
        if (i % 3 == 1 && i != 1)
            assert_int_equal(eventfd_read(party.fds[i], &value), 0);
    assert_int_equal(loop_wait(party.loop, 0), 0);
    loop_remove(party.sources[4]); /* freed with the loop */
    tear_down(&party);
}

static void what_can_not_be_watched_is_refused(void **state)
{
    struct party party;
    struct loop_source *source = NULL;
    set_up(&party, 1);
    assert_int_equal(loop_add(party.loop, -1, EPOLLIN, ready, &party, &source), -EBADF);
    assert_int_equal(loop_add(party.loop, party.fds[0], EPOLLIN, ready, &party, &source), -EEXIST);
    fail_allocation(1);
    assert_int_equal(loop_add(party.loop, party.fds[1], EPOLLIN, ready, &party, &source), -ENOMEM);
    assert_true(allocation_failed());
    assert_null(source);
    tear_down(&party);
}

static void no_memory_for_a_loop_leaks_nothing(void **state)
{
    struct loop *loop = NULL;
    fail_allocation(1);
    assert_int_equal(loop_new(&loop), -ENOMEM);
    assert_true(allocation_failed());
    assert_null(loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_whoever_is_ready),
        TEST(everyone_gets_a_turn),
        TEST(a_source_may_remove_itself),
        TEST(a_removed_source_is_not_called_any_more),
        TEST(removal_of_another_takes_effect_at_once),
        TEST(a_callback_may_replace_a_source),
        TEST(interest_can_change),
        TEST(sources_may_go_in_any_order),
        TEST(what_can_not_be_watched_is_refused),
        TEST(no_memory_for_a_loop_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
