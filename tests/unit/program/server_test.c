// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/server.h: what a server refuses, how it loses a VMM, and that nothing stays
 * open. */
#include <outboard/server.h>

#include "support.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "os/event.h"

struct fixture {
    struct ob_device *device;
    struct ob_server *server;
    int event;
    unsigned fired;
    unsigned work; /* rounds of poll() that find something to do */
    unsigned polled;
};

static void on_event(void *argument, unsigned events)
{
    struct fixture *f = argument;
    uint64_t count;
    assert_int_equal(read(f->event, &count, sizeof(count)), sizeof(count));
    f->fired++;
}

static bool poll_device(void *state)
{
    struct fixture *f = state;
    f->polled++;
    if (f->work == 0)
        return false;
    f->work--;
    return true;
}

static const struct ob_device_desc desc = {
    .size = sizeof(desc),
    .name = "test",
    .vendor_id = 0x1af4,
    .device_id = 0x10f0,
    .class_code = 0xff0000,
    .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
};

static const struct ob_device_ops ops = {.size = sizeof(ops), .poll = poll_device};

static void begin(struct fixture *f, const struct ob_server_options *options)
{
    *f = (struct fixture){.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    assert_int_equal(ob_device_new(&desc, &ops, f, &f->device, NULL), 0);
    assert_int_equal(ob_device_watch(f->device, f->event, OB_WATCH_READABLE, on_event, f), 0);
    assert_int_equal(ob_server_new(f->device, options, &f->server, NULL), 0);
}

static void end(struct fixture *f)
{
    ob_server_free(f->server);
    ob_device_free(f->device);
    close(f->event);
}

static void signal_event(const struct fixture *f)
{
    const uint64_t one = 1;
    assert_int_equal(write(f->event, &one, sizeof(one)), sizeof(one));
}

static bool is_ready(const struct fixture *f)
{
    struct pollfd ready = {.fd = ob_server_fd(f->server), .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

/* Dispatches until there is nothing to do, or an error. */
static int settle(struct fixture *f, struct ob_fault *fault)
{
    int err = 0;
    for (unsigned i = 0; err == 0 && is_ready(f); i++) {
        assert_true(i < 1000);
        err = ob_server_dispatch(f->server, fault);
    }
    return err;
}

/* A VMM's end of a socket whose other end is served. */
static int connect_vmm(struct fixture *f)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(ob_server_connect(f->server, ends[0], NULL), 0);
    assert_true(ob_server_is_connected(f->server));
    return ends[1];
}

static void what_makes_no_server_is_refused(void **state)
{
    static const struct {
        struct ob_server_options options;
        const char *says;
    } slips[] = {
        {{.wire = "mpqemu"}, "ob_server_options.size is not set"},
        {{.size = sizeof(struct ob_server_options), .wire = "smoke"},
         "ob_server_options.wire: got 'smoke', expected mpqemu, vfio-user or vhost-user"},
        {{.size = sizeof(struct ob_server_options), .wire = "mpqemu", .dma_by_messages = true},
         "ob_server_options.dma_by_messages: got wire mpqemu, expected vfio-user"},
    };
    struct fixture f;
    struct ob_server *server = NULL;
    struct ob_fault fault = {0};
    begin(&f, NULL);
    assert_int_equal(ob_server_new(NULL, NULL, &server, &fault), -EINVAL);
    assert_int_equal(ob_server_new(f.device, NULL, NULL, &fault), -EINVAL);
    fault = (struct ob_fault){0};
    assert_int_equal(ob_server_new(f.device, NULL, &server, &fault), -EBUSY);
    assert_non_null(strstr(fault.text, "the device already has one"));
    ob_server_free(f.server);
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        fault = (struct ob_fault){0};
        assert_int_equal(ob_server_new(f.device, &slips[i].options, &server, &fault), -EINVAL);
        assert_non_null(strstr(fault.text, slips[i].says));
    }
    assert_null(server);
    assert_int_equal(ob_server_new(f.device, NULL, &f.server, &fault), 0); /* as if nothing was */
    end(&f);
    assert_int_equal(ob_server_dispatch(NULL, &fault), -EINVAL);
    assert_int_equal(ob_server_connect(NULL, 0, &fault), -EINVAL);
    assert_int_equal(ob_server_fd(NULL), -1);
    assert_false(ob_server_is_connected(NULL));
    ob_server_free(NULL);
}

static void what_is_no_vmm_is_refused_and_stays_open(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    int pair[2], pipe_ends[2];
    begin(&f, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(ob_server_connect(f.server, -1, &fault), -EBADF);
    assert_int_equal(ob_server_connect(f.server, pipe_ends[0], &fault), -ENOTSOCK);
    assert_int_equal(close(pipe_ends[0]), 0);
    close(pipe_ends[1]);
    int vmm = connect_vmm(&f);
    assert_int_equal(ob_server_connect(f.server, pair[0], &fault), -EBUSY);
    assert_int_equal(close(pair[0]), 0);
    close(pair[1]);
    close(vmm);
    end(&f);
}

/* Before its first byte, amid its first bytes, and once its wire is known. */
static void a_vmm_that_goes_is_told_once(void **state)
{
    static const struct {
        const char *wire;
        size_t len;
    } cases[] = {{NULL, 0}, {NULL, 2}, {NULL, 8}, {"mpqemu", 0}, {"vfio-user", 5}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct ob_server_options options = {.size = sizeof(options), .wire = cases[i].wire};
        const uint8_t zeroes[16] = {0};
        struct fixture f;
        begin(&f, &options);
        for (unsigned again = 0; again < 2; again++) {
            int vmm = connect_vmm(&f);
            assert_int_equal(send(vmm, zeroes, cases[i].len, 0), (ssize_t)cases[i].len);
            assert_int_equal(settle(&f, NULL), 0);
            assert_true(ob_server_is_connected(f.server));
            close(vmm);
            assert_int_equal(settle(&f, NULL), -ENOTCONN);
            assert_false(ob_server_is_connected(f.server));
            assert_int_equal(settle(&f, NULL), 0);
            assert_int_equal(ob_server_dispatch(f.server, NULL), 0);
        }
        end(&f);
    }
}

static void a_vmm_that_breaks_the_rules_is_dropped_with_a_reason(void **state)
{
    static const struct {
        uint8_t bytes[12];
        int err;
        const char *says;
    } cases[] = {
        {{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff}, -EPROTO, ""},
        {{1, 0, 0, 0, 1, 0, 0, 0, 0},
         -EPROTONOSUPPORT,
         "the peer's wire: got vhost-user, expected mpqemu"},
    };
    struct fixture f;
    begin(&f, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t said[64] = {0};
        struct ob_fault fault = {0};
        char rest;
        int vmm = connect_vmm(&f);
        memcpy(said, cases[i].bytes, sizeof(cases[i].bytes));
        assert_int_equal(send(vmm, said, sizeof(said), 0), sizeof(said));
        assert_int_equal(settle(&f, &fault), cases[i].err);
        assert_int_equal(fault.code, cases[i].err);
        assert_true(fault.text[0]);
        assert_non_null(strstr(fault.text, cases[i].says));
        assert_int_equal(recv(vmm, &rest, 1, 0), 0);
        close(vmm);
    }
    end(&f);
}

/* With and without a VMM, and never behind the server's end. */
static void what_the_device_watches_is_served(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    assert_false(is_ready(&f));
    signal_event(&f);
    assert_true(is_ready(&f));
    assert_int_equal(settle(&f, NULL), 0);
    assert_int_equal(f.fired, 1);
    int vmm = connect_vmm(&f);
    signal_event(&f);
    assert_int_equal(settle(&f, NULL), 0);
    assert_int_equal(f.fired, 2);
    ob_server_free(f.server);
    signal_event(&f);
    assert_int_equal(ob_server_new(f.device, NULL, &f.server, NULL), 0); /* another serves it */
    assert_int_equal(settle(&f, NULL), 0);
    assert_int_equal(f.fired, 3);
    close(vmm);
    end(&f);
}

/* A device that has something to do keeps the descriptor readable, and one that has not does not.
 */
static void a_device_that_polls_is_called_until_it_is_done(void **state)
{
    const struct ob_server_options options = {.size = sizeof(options), .wire = "mpqemu"};
    struct fixture f;
    begin(&f, &options);
    int vmm = connect_vmm(&f);
    assert_int_equal(settle(&f, NULL), 0);
    f.work = 5;
    f.polled = 0;
    signal_event(&f);
    assert_int_equal(settle(&f, NULL), 0);
    assert_int_equal(f.work, 0);
    assert_true(f.polled >= 6);
    close(vmm);
    end(&f);
}

int main(void)
{
    event_prepare(); /* it keeps a descriptor for the process */
    const struct CMUnitTest tests[] = {
        TEST(what_makes_no_server_is_refused),
        TEST(what_is_no_vmm_is_refused_and_stays_open),
        TEST(a_vmm_that_goes_is_told_once),
        TEST(a_vmm_that_breaks_the_rules_is_dropped_with_a_reason),
        TEST(what_the_device_watches_is_served),
        TEST(a_device_that_polls_is_called_until_it_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
