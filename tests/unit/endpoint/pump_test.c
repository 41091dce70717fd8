// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/pump.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    struct pump pump;
    int other;
    unsigned events;
};

static void on_event(void *argument, uint32_t events)
{
    ((struct fixture *)argument)->events++;
}

static void set_up(struct fixture *f)
{
    int pair[2];
    *f = (struct fixture){0};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    pump_init(&f->pump, pair[0]);
    f->pump.is_socket = f->pump.drains = true;
    f->other = pair[1];
    assert_int_equal(pump_watch(&f->pump, f->loop, PUMP_READS | PUMP_WRITES, on_event, f), 0);
    assert_true(loop_wait(f->loop, 0) >= 0);
}

static void tear_down(struct fixture *f)
{
    int fd = pump_stop(&f->pump);
    if (fd >= 0)
        close(fd);
    if (f->other >= 0)
        close(f->other);
    loop_free(f->loop);
}

static void events_set_and_calls_clear(void **state)
{
    struct fixture f;
    char bytes[8];
    set_up(&f);
    assert_true(f.pump.writable && !f.pump.readable);
    assert_int_equal(write(f.other, "abc", 3), 3);
    assert_true(loop_wait(f.loop, 0) > 0);
    assert_true(f.pump.readable);
    assert_int_equal(pump_read(&f.pump, bytes, 2), 2); /* as much as asked for: there may be more */
    assert_true(f.pump.readable);
    assert_int_equal(pump_read(&f.pump, bytes, sizeof(bytes)), 1);
    assert_false(f.pump.readable); /* without a call that says EAGAIN */
    unsigned before = f.events;
    assert_int_equal(loop_wait(f.loop, 0), 0);
    assert_int_equal(f.events, before);
    tear_down(&f);
}

static void what_does_not_drain_is_read_until_it_says_so(void **state)
{
    struct fixture f;
    char bytes[8];
    set_up(&f);
    f.pump.drains = false;
    assert_int_equal(write(f.other, "abc", 3), 3);
    loop_wait(f.loop, 0);
    assert_int_equal(pump_read(&f.pump, bytes, sizeof(bytes)), 3);
    assert_true(f.pump.readable);
    assert_int_equal(pump_read(&f.pump, bytes, sizeof(bytes)), -EAGAIN);
    assert_false(f.pump.readable);
    tear_down(&f);
}

static void a_full_descriptor_is_writable_again_when_it_is_read(void **state)
{
    struct fixture f;
    char bytes[65536] = {0};
    const struct iovec span = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    set_up(&f);
    ssize_t put;
    while ((put = pump_write(&f.pump, &span, 1)) > 0)
        assert_true(f.pump.writable);
    assert_int_equal(put, -EAGAIN);
    assert_false(f.pump.writable);
    while (read(f.other, bytes, sizeof(bytes)) > 0)
        ;
    assert_true(loop_wait(f.loop, 0) > 0);
    assert_true(f.pump.writable);
    tear_down(&f);
}

static void an_end_is_read_to_the_end(void **state)
{
    struct fixture f;
    char bytes[8];
    set_up(&f);
    assert_int_equal(write(f.other, "abc", 3), 3);
    shutdown(f.other, SHUT_WR);
    loop_wait(f.loop, 0);
    assert_true(f.pump.hung_up && !f.pump.closed && !f.pump.broken);
    assert_int_equal(pump_read(&f.pump, bytes, sizeof(bytes)), 3);
    assert_true(f.pump.readable); /* no event will tell of the end */
    assert_int_equal(pump_read(&f.pump, bytes, sizeof(bytes)), 0);
    close(f.other);
    f.other = -1;
    loop_wait(f.loop, 0);
    assert_true(f.pump.closed);
    const struct iovec span = {.iov_base = bytes, .iov_len = 1};
    assert_int_equal(pump_write(&f.pump, &span, 1), -EPIPE);
    tear_down(&f);
}

static void a_pump_that_is_stopped_gives_its_descriptor_back(void **state)
{
    struct fixture f;
    set_up(&f);
    int fd = f.pump.fd;
    assert_int_equal(pump_stop(&f.pump), fd);
    assert_int_equal(f.pump.fd, -1);
    assert_int_equal(pump_stop(&f.pump), -1);
    assert_int_equal(write(f.other, "abc", 3), 3);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    close(fd);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(events_set_and_calls_clear),
        TEST(what_does_not_drain_is_read_until_it_says_so),
        TEST(a_full_descriptor_is_writable_again_when_it_is_read),
        TEST(an_end_is_read_to_the_end),
        TEST(a_pump_that_is_stopped_gives_its_descriptor_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
