// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors that a device watches (include/outboard/watch.h), on a real loop. */
#include "program/host.h"

#include "support.h"

#include <outboard/watch.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct fixture {
    struct ob_device *device;
    struct loop *loop;
    int pipe[2];
    unsigned calls;
    unsigned events;
};

static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {.name = "test"};
    static const struct ob_device_ops ops;
    *f = (struct fixture){0};
    assert_int_equal(ob_device_new(&desc, &ops, NULL, &f->device, NULL), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(pipe2(f->pipe, O_CLOEXEC), 0);
}

static void tear_down(struct fixture *f)
{
    ob_device_free(f->device);
    loop_free(f->loop);
    close(f->pipe[0]);
    close(f->pipe[1]);
}

static void ready(void *argument, unsigned events)
{
    struct fixture *f = argument;
    f->calls++;
    f->events = events;
}

static void ready_once(void *argument, unsigned events)
{
    struct fixture *f = argument;
    ready(argument, events);
    ob_device_unwatch(f->device, f->pipe[0]);
}

static void what_is_watched_before_serving_is_heard_then(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(ob_device_watch(f.device, f.pipe[0], OB_WATCH_READABLE, ready, &f), 0);
    assert_int_equal(write(f.pipe[1], "x", 1), 1);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(loop_wait(f.loop, 0), 1); /* as long as there is something to read */
    assert_int_equal(f.calls, 2);
    assert_int_equal(f.events, OB_WATCH_READABLE);
    ob_device_unwatch(f.device, f.pipe[0]);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    tear_down(&f);
}

static void events_can_be_changed(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(ob_device_watch(f.device, f.pipe[1], OB_WATCH_READABLE, ready, &f), 0);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(
        ob_device_watch(f.device, f.pipe[1], OB_WATCH_READABLE | OB_WATCH_WRITABLE, ready, &f), 0);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.events, OB_WATCH_WRITABLE);
    tear_down(&f);
}

static void a_callback_may_end_its_own_watch(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(ob_device_watch(f.device, f.pipe[0], OB_WATCH_READABLE, ready_once, &f), 0);
    assert_int_equal(write(f.pipe[1], "x", 1), 1);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.calls, 1);
    ob_device_unwatch(f.device, f.pipe[0]); /* fine when it is not watched */
    tear_down(&f);
}

static void a_hang_up_is_readable(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(program_host_use_loop(f.device, f.loop), 0);
    assert_int_equal(ob_device_watch(f.device, f.pipe[0], OB_WATCH_READABLE, ready, &f), 0);
    close(f.pipe[1]);
    assert_int_equal(loop_wait(f.loop, 0), 1);
    assert_int_equal(f.events, OB_WATCH_READABLE);
    f.pipe[1] = -1;
    tear_down(&f);
}

/* A regular file can't be waited for: told at once, or when serving starts. */
static void what_can_not_be_watched(void **state)
{
    struct fixture f;
    set_up(&f);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(ob_device_watch(f.device, file, OB_WATCH_READABLE, ready, &f), 0);
    assert_int_equal(program_host_use_loop(f.device, f.loop), -EPERM);
    ob_device_unwatch(f.device, file);
    assert_int_equal(ob_device_watch(f.device, file, OB_WATCH_READABLE, ready, &f), -EPERM);
    close(file);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_watched_before_serving_is_heard_then),
        TEST(events_can_be_changed),
        TEST(a_callback_may_end_its_own_watch),
        TEST(a_hang_up_is_readable),
        TEST(what_can_not_be_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
