// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors that a device watches (include/outboard/watch.h), on a real loop. */
#include "program/watches.h"

#include "failing_alloc.h"
#include "support.h"

#include <outboard/watch.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "program/host.h"

struct fixture {
    struct ob_device *device;
    struct loop *loop;
    int pipe[2];
    unsigned calls;
    unsigned events;
};

static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), .name = "test"};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
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

/* More than the table of descriptors begins with; they go into it at all sizes. */
#define MANY 600

static void count_event(void *argument)
{
    unsigned *calls = argument;
    ++*calls;
}

static unsigned wait_for_all(struct loop *loop)
{
    unsigned called = 0;
    for (int now = loop_wait(loop, 0); now > 0; now = loop_wait(loop, 0))
        called += (unsigned)now;
    return called;
}

static void many_descriptors_are_found_each(void **state)
{
    static int fds[MANY];
    static unsigned calls[MANY];
    struct watches watches = {0};
    struct loop *loop;
    assert_int_equal(loop_new(&loop), 0);
    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(fds[i] >= 0);
        assert_int_equal(watches_add_event(&watches, fds[i], count_event, &calls[i]), 0);
    }
    assert_int_equal(watches_use_loop(&watches, loop), 0);
    assert_int_equal(wait_for_all(loop), MANY);
    for (unsigned i = 0; i < MANY; i += 2)
        watches_remove(&watches, fds[i]);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(eventfd_write(fds[i], 1), 0);
    assert_int_equal(wait_for_all(loop), MANY / 2);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(calls[i], i % 2 ? 2 : 1);
    for (unsigned i = 0; i < MANY; i += 2) /* those that went may come again */
        assert_int_equal(watches_add_event(&watches, fds[i], count_event, &calls[i]), 0);
    assert_int_equal(wait_for_all(loop), MANY / 2);
    watches_done(&watches);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(eventfd_write(fds[i], 1), 0);
        close(fds[i]);
    }
    assert_int_equal(loop_wait(loop, 0), 0);
    loop_free(loop);
}

static void an_eventfd_is_watched_once(void **state)
{
    struct watches watches = {0};
    unsigned calls = 0;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(watches_add_event(&watches, fd, count_event, &calls), 0);
    assert_int_equal(watches_add_event(&watches, fd, count_event, &calls), -EEXIST);
    watches_remove(&watches, fd);
    watches_remove(&watches, fd + MANY); /* beyond the table */
    assert_int_equal(watches_add_event(&watches, fd, count_event, &calls), 0);
    watches_done(&watches);
    close(fd);
}

static void no_memory_leaves_no_watch(void **state)
{
    struct watches watches = {0};
    struct loop *loop;
    unsigned calls = 0;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(watches_use_loop(&watches, loop), 0);
    for (unsigned nth = 1;; nth++) {
        fail_allocation(nth);
        int err = watches_add_event(&watches, fd, count_event, &calls);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_int_equal(loop_wait(loop, 0), 0);
    }
    assert_int_equal(loop_wait(loop, 0), 1);
    assert_int_equal(calls, 1);
    watches_done(&watches);
    loop_free(loop);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_watched_before_serving_is_heard_then),
        TEST(events_can_be_changed),
        TEST(a_callback_may_end_its_own_watch),
        TEST(a_hang_up_is_readable),
        TEST(what_can_not_be_watched),
        TEST(many_descriptors_are_found_each),
        TEST(an_eventfd_is_watched_once),
        TEST(no_memory_leaves_no_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
