// SPDX-License-Identifier: BSD-3-Clause
#include "program/connection.h"

#include <outboard/vault.h>

#include "device/device_vault.h"
#include "fake/server_host.h"
#include "os/clock.h"
#include "server/vault_fixture.h"
#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* A wire whose messages are single bytes, which a peer sends faster than they can be served: each
 * one is answered by the next, until the peer has had enough. */
struct flood {
    struct engine engine;
    int peer;
    int event; /* signalled by the message that is number SIGNAL_AT */
    unsigned messages;
};

#define SIGNAL_AT 1000u
#define ENOUGH    100000u

static int frame_len(struct engine *engine, const uint8_t *header)
{
    return 1;
}

static int handle(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct flood *flood = (struct flood *)engine;
    if (frame[0] == '!')
        return ob_fault_set(&engine->fault, -EPROTO, "test: refused");
    if (++flood->messages == SIGNAL_AT)
        eventfd_write(flood->event, 1);
    if (flood->messages < ENOUGH)
        assert_int_equal(send(flood->peer, frame, 1, 0), 1);
    else
        shutdown(flood->peer, SHUT_WR);
    return 0;
}

static int fit_device(struct ob_device *device, struct ob_fault *fault)
{
    return 0;
}

static const struct engine_ops flood_ops = {
    .wire = "flood",
    .instance_len = sizeof(struct flood),
    .header_len = 1,
    .rx_len = LIMIT_REQUEST_BYTES,
    .tx_len = LIMIT_REPLY_BYTES,
    .reply_limit = 1,
    .frame_len = frame_len,
    .handle = handle,
    .fit_device = fit_device,
};

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    struct loop *loop;
    int pair[2];
    unsigned work;
    unsigned late_work; /* found only by listening */
    unsigned listened;
    unsigned held; /* for so many polls, the device puts something off */
    unsigned held_at_listen;
    bool stop;
};

static void set_stop(void *argument, uint32_t events)
{
    struct fixture *f = argument;
    f->stop = true;
}

/* A device with so much to do, after which the program is to stop. */
static bool work(void *state)
{
    struct fixture *f = state;
    if (f->work == 0)
        return false;
    f->stop = --f->work == 0;
    return true;
}

static bool hold(void *state)
{
    struct fixture *f = state;
    if (f->held == 0)
        return false;
    f->held--;
    return true;
}

static bool look_again(void *state)
{
    struct fixture *f = state;
    f->listened++;
    f->held_at_listen = f->held;
    f->work = f->late_work;
    f->late_work = 0;
    return f->work > 0;
}

static void make_device(struct fixture *f)
{
    static const struct ob_device_desc desc = {.name = "test"};
    static const struct ob_device_ops ops = {
        .poll = work, .has_deferred_work = hold, .before_sleep = look_again};
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(device_new(&desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
}

static void make_engine(struct fixture *f)
{
    assert_int_equal(engine_new(&flood_ops, f->device, &f->engine, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
    struct flood *flood = (struct flood *)f->engine;
    flood->peer = f->pair[1];
    flood->event = eventfd(0, EFD_CLOEXEC);
    struct loop_source *source;
    assert_int_equal(loop_add(f->loop, flood->event, EPOLLIN, set_stop, f, &source), 0);
}

static void set_up(struct fixture *f)
{
    make_device(f);
    make_engine(f);
}

static void tear_down(struct fixture *f)
{
    close(((struct flood *)f->engine)->event);
    engine_free(f->engine);
    device_free(f->device);
    loop_free(f->loop);
    close(f->pair[0]);
    close(f->pair[1]);
}

/* While messages come without a pause, other descriptors of the loop have their turn too. */
static void check_flood(unsigned poll_us)
{
    struct fixture f;
    struct ob_fault fault = {0};
    set_up(&f);
    assert_int_equal(send(f.pair[1], "x", 1, 0), 1);
    assert_int_equal(connection_serve(f.pair[0], f.loop, f.engine, poll_us, &f.stop, NULL, &fault),
                     0);
    assert_true(f.stop);
    assert_in_range(((struct flood *)f.engine)->messages, SIGNAL_AT, SIGNAL_AT + 100);
    assert_int_equal(fault.code, 0);
    tear_down(&f);
}

static void a_flood_keeps_nobody_else_waiting(void **state)
{
    check_flood(0);
    check_flood(50);
    check_flood(LIMIT_POLL_US);
}

static void a_refusal_ends_the_connection(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    set_up(&f);
    assert_int_equal(send(f.pair[1], "!", 1, 0), 1);
    assert_int_equal(connection_serve(f.pair[0], f.loop, f.engine, 50, &f.stop, NULL, &fault),
                     -EPROTO);
    assert_string_equal(fault.text, "test: refused");
    tear_down(&f);
}

static void the_end_of_the_stream_is_no_fault(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    set_up(&f);
    shutdown(f.pair[1], SHUT_WR);
    assert_int_equal(connection_serve(f.pair[0], f.loop, f.engine, 50, &f.stop, NULL, &fault), 0);
    assert_false(f.stop);
    assert_int_equal(fault.code, 0);
    tear_down(&f);
}

/* Nobody sends anything, so to wait even once would be to wait for ever. */
static void a_busy_device_is_polled_without_waiting(void **state)
{
    static const unsigned windows_us[] = {0, 50};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        struct ob_fault fault = {0};
        set_up(&f);
        f.work = 1000;
        assert_int_equal(
            connection_serve(f.pair[0], f.loop, f.engine, windows_us[i], &f.stop, NULL, &fault), 0);
        assert_true(f.stop);
        tear_down(&f);
    }
}

/* As above, but the device learns of its work only when it is asked for the last time. */
static void a_device_that_hears_of_work_is_not_waited_for(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    set_up(&f);
    f.late_work = 1000;
    assert_int_equal(connection_serve(f.pair[0], f.loop, f.engine, 50, &f.stop, NULL, &fault), 0);
    assert_true(f.stop);
    assert_int_equal(f.listened, 1);
    tear_down(&f);
}

/* Where nothing is polled for, nothing is put off either. */
static void what_a_device_puts_off_is_polled_for(void **state)
{
    static const unsigned windows_us[] = {0, 50}, put_off = 100000;
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        struct ob_fault fault = {0};
        set_up(&f);
        f.held = put_off;
        f.late_work = 1;
        assert_int_equal(
            connection_serve(f.pair[0], f.loop, f.engine, windows_us[i], &f.stop, NULL, &fault), 0);
        assert_int_equal(f.held_at_listen, windows_us[i] > 0 ? 0 : put_off);
        tear_down(&f);
    }
}

/* Without statistics too, as under a service manager: a successor counts a message's age from then. */
static void a_vault_has_the_time_of_bytes(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    struct vault vault;
    uint8_t bytes[8];
    make_device(&f);
    const struct ob_vault_state kept = {
        .size = sizeof(kept), .bytes = bytes, .len = sizeof(bytes), .version = 1};
    vault_begin(&vault, vault_fixture_new(), 1);
    assert_int_equal(ob_vault_keep(f.device, &kept), 0);
    assert_int_equal(device_use_vault(f.device, &vault, NULL), 0);
    make_engine(&f);
    assert_null(device_statistics(f.device));
    assert_int_equal(send(f.pair[1], "!", 1, 0), 1);
    const uint64_t before_ns = clock_now_ns();
    connection_serve(f.pair[0], f.loop, f.engine, 0, &f.stop, NULL, &fault);
    assert_int_equal(fault.code, -EPROTO);
    assert_in_range(vault.shared->received_ns, before_ns, clock_now_ns());
    tear_down(&f);
    free(vault.shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flood_keeps_nobody_else_waiting),
        TEST(a_refusal_ends_the_connection),
        TEST(the_end_of_the_stream_is_no_fault),
        TEST(a_busy_device_is_polled_without_waiting),
        TEST(a_device_that_hears_of_work_is_not_waited_for),
        TEST(what_a_device_puts_off_is_polled_for),
        TEST(a_vault_has_the_time_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
