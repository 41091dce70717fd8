// SPDX-License-Identifier: BSD-3-Clause
#include "os/event.h"
#include "os/guarded_event.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void an_eventfd_passes_unchanged(void **state)
{
    static const eventfd_t counts[] = {0, 1, 7, UINT64_MAX - 1};
    for (unsigned i = 0; i < 8; i++) {
        eventfd_t count = counts[i / 2], value = 0;
        int flags = (i % 2 ? EFD_SEMAPHORE : 0) | (i % 4 < 2 ? EFD_NONBLOCK : 0);
        int fd = eventfd(0, flags);
        if (count > 0)
            assert_int_equal(eventfd_write(fd, count), 0);
        assert_int_equal(event_check(fd), 0);
        assert_int_equal(!(fcntl(fd, F_GETFL) & O_NONBLOCK), !(flags & EFD_NONBLOCK));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        assert_int_equal(eventfd_read(fd, &value), count > 0 ? 0 : -1);
        assert_true(value == (i % 2 && count > 0 ? 1 : count));
        close(fd);
    }
}

static void check_refused(int fd)
{
    assert_true(fd >= 0);
    assert_int_equal(event_check(fd), -EINVAL);
    close(fd);
}

static void nothing_else_passes(void **state)
{
    int pair[2];
    sigset_t none;
    sigemptyset(&none);
    assert_int_equal(pipe(pair), 0);
    check_refused(pair[0]);
    check_refused(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    check_refused(pair[0]);
    check_refused(pair[1]);
    check_refused(timerfd_create(CLOCK_MONOTONIC, 0));
    check_refused(epoll_create1(0));
    check_refused(memfd_create("test", 0));
    check_refused(signalfd(-1, &none, 0));
    check_refused(inotify_init());
    check_refused(open("/dev/null", O_RDWR));
    check_refused(open("/dev/null", O_PATH));
    check_refused((int)syscall(SYS_pidfd_open, getpid(), 0));
    assert_int_equal(event_check(-1), -EBADF);
}

static void signals_add_up_and_drain(void **state)
{
    for (int flags = 0; flags <= EFD_NONBLOCK; flags += EFD_NONBLOCK) {
        int fd = eventfd(0, flags);
        eventfd_t value;
        assert_int_equal(event_check(fd), 0);
        event_drain_nowait(fd); /* of nothing: does not wait */
        event_signal(fd);
        event_signal(fd);
        assert_int_equal(eventfd_read(fd, &value), 0);
        assert_int_equal(value, 2);
        assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
        event_signal(fd); /* to one that is full: does not wait */
        event_drain(fd);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        assert_int_equal(eventfd_read(fd, &value), -1);
        close(fd);
    }
}

static void a_full_one_is_signalled_without_a_look(void **state)
{
    int fd = eventfd(0, 0); /* it blocks */
    eventfd_t value;
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
    event_signal(fd); /* as the kernel does, which needs no room: nobody can fill it in between */
    assert_int_equal(eventfd_read(fd, &value), 0);
    assert_true(value == UINT64_MAX);
    close(fd);
}

static void many_signals_all_arrive(void **state)
{
    int fd = eventfd(0, 0);
    eventfd_t value;
    for (unsigned i = 0; i < 10000; i++)
        event_signal(fd);
    assert_int_equal(eventfd_read(fd, &value), 0);
    assert_int_equal(value, 10000);
    close(fd);
}

static void one_eventfd_may_have_two_numbers(void **state)
{
    int one = eventfd(0, 0), same = dup(one), other = eventfd(0, 0);
    assert_true(event_is_same(one, one));
    assert_true(event_is_same(one, same));
    assert_false(event_is_same(one, other));
    close(one);
    close(same);
    close(other);
}

/* Which lasts: what comes behind in the list goes by aio. */
static void aio_is_set_up_once(void **state)
{
    event_prepare();
    int open = open_descriptors();
    event_prepare();
    assert_int_equal(open_descriptors(), open);
}

/* So does this: what comes behind in the list goes by a guarded write. */
static void a_guard_is_set_up_once(void **state)
{
    event_prepare_program();
    assert_true(guarded_event_is_ready());
    int open = open_descriptors();
    event_prepare_program();
    assert_int_equal(open_descriptors(), open);
}

static void a_full_one_is_signalled_and_stays_full(void **state)
{
    int fd = eventfd(0, 0); /* it blocks */
    eventfd_t value;
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
    event_signal(fd);
    event_signal(fd);
    assert_int_equal(eventfd_read(fd, &value), 0);
    assert_true(value == UINT64_MAX - 1);
    close(fd);
}

static void do_nothing(int number)
{
}

static void a_signal_to_the_process_breaks_no_write(void **state)
{
    int fd = eventfd(0, 0);
    eventfd_t value;
    struct sigaction handler = {.sa_handler = do_nothing}, before;
    assert_int_equal(sigaction(SIGALRM, &handler, &before), 0);
    const struct itimerval often = {.it_interval.tv_usec = 100, .it_value.tv_usec = 100},
                           never = {0};
    setitimer(ITIMER_REAL, &often, NULL);
    for (unsigned i = 0; i < 10000; i++)
        event_signal(fd);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(eventfd_read(fd, &value), 0);
    assert_int_equal(value, 10000);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_eventfd_passes_unchanged),
        TEST(nothing_else_passes),
        TEST(signals_add_up_and_drain),
        TEST(one_eventfd_may_have_two_numbers),
        TEST(many_signals_all_arrive),
        cmocka_unit_test(aio_is_set_up_once),
        TEST(an_eventfd_passes_unchanged),
        TEST(nothing_else_passes),
        TEST(signals_add_up_and_drain),
        TEST(many_signals_all_arrive),
        TEST(a_full_one_is_signalled_without_a_look),
        cmocka_unit_test(a_guard_is_set_up_once),
        TEST(an_eventfd_passes_unchanged),
        TEST(nothing_else_passes),
        TEST(signals_add_up_and_drain),
        TEST(many_signals_all_arrive),
        TEST(a_full_one_is_signalled_and_stays_full),
        TEST(a_signal_to_the_process_breaks_no_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
