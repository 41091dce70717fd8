// SPDX-License-Identifier: BSD-3-Clause
/* Wake-ups (include/outboard/wake.h), on a real loop, from real threads. */
#include <outboard/wake.h>

#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "failing_alloc.h"
#include "program/host.h"

#define THREADS 4u
#define RESULTS 2000u

struct fixture {
    struct ob_device *device;
    struct loop *loop;
    struct ob_wake *wake;
    pthread_mutex_t lock;
    unsigned left; /* results that threads have left and nobody has taken */
    unsigned taken;
    unsigned calls;
};

static void woken(void *argument)
{
    struct fixture *f = argument;
    pthread_mutex_lock(&f->lock);
    f->taken += f->left;
    f->left = 0;
    pthread_mutex_unlock(&f->lock);
    f->calls++;
}

static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), .name = "test"};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    *f = (struct fixture){.lock = PTHREAD_MUTEX_INITIALIZER};
    assert_int_equal(ob_device_new(&desc, &ops, NULL, &f->device, NULL), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(ob_wake_new(f->device, woken, f, &f->wake, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    ob_device_free(f->device);
    ob_wake_free(f->wake);
    loop_free(f->loop);
}

static void what_is_signalled_before_serving_is_called_then(void **state)
{
    struct fixture f;
    set_up(&f);
    for (unsigned i = 0; i < 3; i++)
        ob_wake_signal(f.wake);
    assert_int_equal(f.calls, 0);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.calls, 1);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    ob_wake_signal(f.wake);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.calls, 2);
    tear_down(&f);
}

static void *leave_results(void *argument)
{
    struct fixture *f = argument;
    for (unsigned i = 0; i < RESULTS; i++) {
        pthread_mutex_lock(&f->lock);
        f->left++;
        pthread_mutex_unlock(&f->lock);
        ob_wake_signal(f->wake);
    }
    return NULL;
}

/* A signal that is lost leaves the loop waiting for ever. */
static void nothing_that_threads_leave_is_missed(void **state)
{
    struct fixture f;
    pthread_t threads[THREADS];
    set_up(&f);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, leave_results, &f), 0);
    while (f.taken < THREADS * RESULTS)
        assert_true(loop_wait(f.loop, -1) >= 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(f.taken, THREADS * RESULTS);
    tear_down(&f);
}

static struct ob_wake *of_handler;

static void handle(int number)
{
    ob_wake_signal(of_handler);
}

static void a_signal_handler_may_signal(void **state)
{
    struct fixture f;
    set_up(&f);
    of_handler = f.wake;
    signal(SIGUSR1, handle);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    errno = ERANGE;
    raise(SIGUSR1);
    // cppcheck-suppress unreachableCode ; the handler returns
    assert_int_equal(errno, ERANGE);
    signal(SIGUSR1, SIG_DFL);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.calls, 1);
    tear_down(&f);
}

static void a_device_that_is_gone_is_not_called(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    ob_device_free(f.device);
    f.device = NULL;
    ob_wake_signal(f.wake);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.calls, 0);
    tear_down(&f);
}

static void free_wake(void *argument)
{
    struct fixture *f = argument;
    f->calls++;
    ob_wake_free(f->wake);
    f->wake = NULL;
}

static void a_wake_up_may_end_in_its_own_call(void **state)
{
    struct fixture f;
    set_up(&f);
    ob_wake_free(f.wake);
    assert_int_equal(ob_wake_new(f.device, free_wake, &f, &f.wake, NULL), 0);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    ob_wake_signal(f.wake);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.calls, 1);
    tear_down(&f);
}

static void slips_are_told(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    struct ob_wake *wake = NULL;
    set_up(&f);
    assert_int_equal(ob_wake_new(NULL, woken, &f, &wake, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ob_wake_new(): device, woken or ret_wake is NULL"));
    assert_int_equal(ob_wake_new(f.device, NULL, &f, &wake, NULL), -EINVAL);
    assert_int_equal(ob_wake_new(f.device, woken, &f, NULL, NULL), -EINVAL);
    for (unsigned nth = 1; nth <= 2; nth++) {
        fail_allocation(nth);
        assert_int_equal(ob_wake_new(f.device, woken, &f, &wake, NULL), -ENOMEM);
        assert_true(allocation_failed());
    }
    assert_null(wake);
    ob_wake_signal(NULL);
    ob_wake_free(NULL);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_signalled_before_serving_is_called_then),
        TEST(nothing_that_threads_leave_is_missed),
        TEST(a_signal_handler_may_signal),
        TEST(a_device_that_is_gone_is_not_called),
        TEST(a_wake_up_may_end_in_its_own_call),
        TEST(slips_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
