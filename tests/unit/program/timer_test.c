// SPDX-License-Identifier: BSD-3-Clause
/* Timers of a device (include/outboard/timer.h), on a real loop and the real clock. */
#include <outboard/timer.h>

#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "failing_alloc.h"
#include "program/host.h"

#define MS      UINT64_C(1000000)
#define FOREVER (UINT64_C(3600) * 1000 * MS)
#define MANY    2000u

struct fixture {
    struct ob_device *device;
    struct loop *loop;
    struct ob_timer *timer, *other;
    unsigned calls, other_calls;
    uint64_t called_ns; /* the last time */
    unsigned again;     /* how often the callback sets its timer to a time that is past */
    bool frees;         /* the callback frees its timer */
    bool cancels;       /* the callback cancels the other timer */
};

static void due(void *argument)
{
    struct fixture *f = argument;
    f->calls++;
    f->called_ns = ob_timer_now_ns();
    if (f->cancels)
        ob_timer_cancel(f->other);
    if (f->again > 0) {
        f->again--;
        ob_timer_set(f->timer, 0);
    }
    if (f->frees) {
        ob_timer_free(f->timer);
        f->timer = NULL;
    }
}

static void other_due(void *argument)
{
    struct fixture *f = argument;
    f->other_calls++;
}

static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), .name = "test"};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    *f = (struct fixture){0};
    assert_int_equal(ob_device_new(&desc, &ops, NULL, &f->device, NULL), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(ob_timer_new(f->device, due, f, &f->timer, NULL), 0);
    assert_int_equal(ob_timer_new(f->device, other_due, f, &f->other, NULL), 0);
}

static void set_up_serving(struct fixture *f)
{
    set_up(f);
    assert_int_equal(program_host_use_loop(f->device, f->loop), 0);
}

static void tear_down(struct fixture *f)
{
    ob_timer_free(f->other);
    ob_device_free(f->device);
    ob_timer_free(f->timer);
    loop_free(f->loop);
}

static void a_timer_fires_once_and_not_before_its_time(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    uint64_t at_ns = ob_timer_now_ns() + 3 * MS;
    ob_timer_set(f.timer, at_ns);
    assert_int_equal(f.calls, 0);
    while (f.calls == 0)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_true(f.called_ns >= at_ns);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.calls, 1);
    tear_down(&f);
}

static void a_timer_that_is_set_before_serving_fires_then(void **state)
{
    struct fixture f;
    set_up(&f);
    ob_timer_set(f.timer, 0);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.calls, 0);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(loop_wait(f.loop, -1), 1);
    assert_int_equal(f.calls, 1);
    tear_down(&f);
}

static void a_timer_can_be_set_to_an_earlier_and_a_later_time(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    ob_timer_set(f.timer, ob_timer_now_ns() + FOREVER);
    ob_timer_set(f.other, ob_timer_now_ns() + MS);
    while (f.other_calls == 0)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_int_equal(f.calls, 0);
    ob_timer_set(f.timer, 0);
    ob_timer_set(f.timer, UINT64_MAX);
    ob_timer_set(f.other, ob_timer_now_ns() + MS);
    while (f.other_calls == 1)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_int_equal(f.calls, 0);
    tear_down(&f);
}

/* The descriptor may become readable for a timer that was cancelled; nobody is called for it. */
static void a_cancelled_timer_does_not_fire(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    ob_timer_set(f.timer, 0);
    ob_timer_set(f.other, ob_timer_now_ns() + MS);
    ob_timer_cancel(f.timer);
    ob_timer_cancel(f.timer);
    while (f.other_calls == 0)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_int_equal(f.calls, 0);
    f.cancels = true; /* and one that is due in the same round, neither */
    uint64_t at_ns = ob_timer_now_ns();
    ob_timer_set(f.timer, at_ns);
    ob_timer_set(f.other, at_ns);
    while (f.calls == 0)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.other_calls, 1);
    tear_down(&f);
}

static void readable(void *argument, unsigned events)
{
    ++*(unsigned *)argument;
}

/* A timer that is always set to the past keeps neither another one nor a descriptor waiting. */
static void everyone_has_a_turn(void **state)
{
    struct fixture f;
    unsigned reads = 0;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    set_up_serving(&f);
    assert_int_equal(ob_device_watch(f.device, fd, OB_WATCH_READABLE, readable, &reads), 0);
    f.again = 1000000;
    ob_timer_set(f.timer, 0);
    ob_timer_set(f.other, 0);
    while (f.other_calls == 0 || reads == 0)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_true(f.again > 0);
    ob_device_unwatch(f.device, fd);
    close(fd);
    tear_down(&f);
}

static void count_call(void *argument)
{
    ++*(unsigned *)argument;
}

static void many_timers_share_a_descriptor(void **state)
{
    struct fixture f;
    static struct ob_timer *timers[MANY];
    unsigned calls = 0;
    set_up_serving(&f);
    int open = open_descriptors();
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(ob_timer_new(f.device, count_call, &calls, &timers[i], NULL), 0);
        ob_timer_set(timers[i], ob_timer_now_ns() + UINT64_C(1000) * (i * 7919 % MANY));
    }
    assert_int_equal(open_descriptors(), open);
    while (calls < MANY)
        assert_true(loop_wait(f.loop, -1) >= 0);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    for (unsigned i = 0; i < MANY; i++)
        ob_timer_free(timers[i]);
    tear_down(&f);
}

static void a_timer_may_end_in_its_own_call_and_outlive_the_device(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    f.frees = true;
    ob_timer_set(f.timer, 0);
    assert_int_equal(loop_wait(f.loop, -1), 1);
    assert_int_equal(f.calls, 1);
    assert_null(f.timer);
    ob_timer_set(f.other, 0);
    ob_device_free(f.device);
    f.device = NULL;
    ob_timer_set(f.other, 0);
    ob_timer_cancel(f.other);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.other_calls, 0);
    tear_down(&f);
}

static void slips_are_told(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    struct ob_timer *timer = NULL;
    set_up(&f);
    assert_int_equal(ob_timer_new(NULL, due, &f, &timer, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ob_timer_new(): device, due or ret_timer is NULL"));
    assert_int_equal(ob_timer_new(f.device, NULL, &f, &timer, NULL), -EINVAL);
    assert_int_equal(ob_timer_new(f.device, due, &f, NULL, NULL), -EINVAL);
    fail_allocation(1);
    assert_int_equal(ob_timer_new(f.device, due, &f, &timer, NULL), -ENOMEM);
    assert_true(allocation_failed());
    assert_null(timer);
    ob_timer_set(NULL, 0);
    ob_timer_cancel(NULL);
    ob_timer_free(NULL);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_timer_fires_once_and_not_before_its_time),
        TEST(a_timer_that_is_set_before_serving_fires_then),
        TEST(a_timer_can_be_set_to_an_earlier_and_a_later_time),
        TEST(a_cancelled_timer_does_not_fire),
        TEST(everyone_has_a_turn),
        TEST(many_timers_share_a_descriptor),
        TEST(a_timer_may_end_in_its_own_call_and_outlive_the_device),
        TEST(slips_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
