// SPDX-License-Identifier: BSD-3-Clause
#include "program/wires.h"

#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    int pair[2]; /* ours, the peer's */
    bool stop;
    const char *rest; /* what the peer has yet to send, a byte at a time */
    int event;
    struct ob_fault fault;
};

static void set_up(struct fixture *f)
{
    *f = (struct fixture){.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
}

static void tear_down(struct fixture *f)
{
    loop_free(f->loop);
    close(f->event);
    close(f->pair[0]);
    if (f->pair[1] >= 0)
        close(f->pair[1]);
}

static void hang_up(struct fixture *f)
{
    close(f->pair[1]);
    f->pair[1] = -1;
}

static int detect(struct fixture *f, const struct engine_ops **ret_wire)
{
    *ret_wire = NULL;
    f->fault = (struct ob_fault){0};
    return wires_detect(f->pair[0], f->loop, &f->stop, ret_wire, &f->fault);
}

static void the_first_message_tells(void **state)
{
    static const struct {
        char bytes[16];
        const char *wire;
    } firsts[] = {
        {{0, 0, 0, 0, 0, 0, 0, 0, (char)192}, "mpqemu"}, /* SYNC_SYSMEM, shipped */
        {{1, 0, 0, 0, 0, 0, 0, 0, (char)192}, "mpqemu"}, /* SYNC_SYSMEM, v8 */
        {{0, 0, 1, 0}, "vfio-user"},                     /* VERSION, message 0 */
        {{1, 0, 1, 0}, "vfio-user"},
        {{(char)0xff, (char)0xff, 1, 0}, "vfio-user"},
        {{'G', 'E', 'T', ' '}, "mpqemu"}, /* whose engine refuses it */
    };
    for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
        struct fixture f;
        set_up(&f);
        char left[sizeof(firsts[i].bytes)];
        const struct engine_ops *wire;
        assert_int_equal(write(f.pair[1], firsts[i].bytes, sizeof(left)), sizeof(left));
        assert_int_equal(detect(&f, &wire), 0);
        assert_string_equal(wire->wire, firsts[i].wire);
        assert_int_equal(read(f.pair[0], left, sizeof(left)), sizeof(left));
        assert_memory_equal(left, firsts[i].bytes, sizeof(left));
        tear_down(&f);
    }
}

static void send_next(void *argument, uint32_t events)
{
    struct fixture *f = argument;
    if (*f->rest == '.')
        hang_up(f);
    else
        assert_int_equal(write(f->pair[1], f->rest, 1), 1);
    f->rest++;
    eventfd_t count;
    assert_int_equal(eventfd_read(f->event, &count), 0);
    if (*f->rest)
        assert_int_equal(eventfd_write(f->event, 1), 0);
}

/* The peer's bytes come one by one, each in a round of the loop of its own; '.' hangs up. */
static int detect_slowly(struct fixture *f, const char *bytes, const struct engine_ops **ret_wire)
{
    struct loop_source *source;
    f->rest = bytes;
    assert_int_equal(eventfd_write(f->event, 1), 0);
    assert_int_equal(loop_add(f->loop, f->event, EPOLLIN, send_next, f, &source), 0);
    return detect(f, ret_wire);
}

static void a_peer_may_stutter(void **state)
{
    struct fixture f;
    const struct engine_ops *wire;
    set_up(&f);
    assert_int_equal(detect_slowly(&f, "ab\1", &wire), 0);
    assert_string_equal(wire->wire, "vfio-user");
    tear_down(&f);
}

static void vhost_user_is_told_apart(void **state)
{
    static const uint8_t get_features[12] = {1, 0, 0, 0, 1};
    struct fixture f;
    const struct engine_ops *wire;
    set_up(&f);
    assert_int_equal(write(f.pair[1], get_features, sizeof(get_features)), sizeof(get_features));
    assert_int_equal(detect(&f, &wire), 0);
    assert_ptr_equal(wire, &vhost_user_engine);
    tear_down(&f);
}

static void a_peer_that_goes_first_is_told(void **state)
{
    static const char *const all[] = {".", "a.", "ab."};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct fixture f;
        const struct engine_ops *wire;
        set_up(&f);
        assert_int_equal(detect_slowly(&f, all[i], &wire), -ENOTCONN);
        assert_null(wire);
        tear_down(&f);
    }
}

static void set_stop(void *argument, uint32_t events)
{
    struct fixture *f = argument;
    f->stop = true;
}

static void a_signal_ends_the_wait(void **state)
{
    struct fixture f;
    struct loop_source *source;
    const struct engine_ops *wire;
    set_up(&f);
    assert_int_equal(eventfd_write(f.event, 1), 0);
    assert_int_equal(loop_add(f.loop, f.event, EPOLLIN, set_stop, &f, &source), 0);
    assert_int_equal(detect(&f, &wire), -ECANCELED);
    tear_down(&f);
}

static void wires_have_names(void **state)
{
    const struct engine_ops *wire = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(wires_find("--wire", "mpqemu", &wire, &fault), 0);
    assert_ptr_equal(wire, &mpqemu_engine);
    assert_int_equal(wires_find("--wire", "vfio-user", &wire, &fault), 0);
    assert_ptr_equal(wire, &vfio_user_engine);
    assert_int_equal(wires_find("--wire", "vhost-user", &wire, &fault), 0);
    assert_ptr_equal(wire, &vhost_user_engine);
    assert_int_equal(wires_find("--wire", "smoke", &wire, &fault), -EINVAL);
    assert_ptr_equal(wire, &vhost_user_engine);
    assert_string_equal(fault.text,
                        "--wire: got 'smoke', expected mpqemu, vfio-user or vhost-user");
}

static void messages_select_vfio_user_unless_another_wire_is_given(void **state)
{
    const struct engine_ops *wire = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(wires_use_messages("--dma", &wire, &fault), 0);
    assert_ptr_equal(wire, &vfio_user_engine);
    assert_int_equal(wires_use_messages("--dma", &wire, &fault), 0);
    wire = &mpqemu_engine;
    assert_int_equal(wires_use_messages("--dma", &wire, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "--dma: got wire mpqemu, expected vfio-user"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_message_tells),
        TEST(a_peer_may_stutter),
        TEST(vhost_user_is_told_apart),
        TEST(a_peer_that_goes_first_is_told),
        TEST(a_signal_ends_the_wait),
        TEST(wires_have_names),
        TEST(messages_select_vfio_user_unless_another_wire_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
