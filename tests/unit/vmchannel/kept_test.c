// SPDX-License-Identifier: BSD-3-Clause
/* Ports that outlive their process. */
#include "port.h"

#include "support.h"

#include <stdlib.h>

static unsigned wakes;

static void wake(void *device, unsigned id)
{
    wakes++;
}

static void tell(void *device, unsigned id, const char *event, const char *end, uint64_t number)
{
}

static const struct port_events events = {.wake = wake, .tell = tell};

static struct port make(enum port_mode mode)
{
    struct port port = {.id = 1, .name = "one", .mode = mode, .events = &events};
    port_init(&port);
    return port;
}

static void an_open_descriptor_has_had_its_session(void **state)
{
    static const enum port_mode modes[] = {PORT_REPLUG, PORT_HANDSHAKE, PORT_LEGACY};
    for (unsigned i = 0; i < 3; i++) {
        struct port before = make(modes[i]), after = make(modes[i]);
        struct port_kept kept;
        before.guest = (struct port_guest){.plugged = true, .ready = true, .open = true};
        before.state = PORT_ON;
        before.host_open = true;
        port_keep(&before, &kept);
        assert_true(port_take_kept(&after, &kept, 0));
        assert_int_equal(after.state, PORT_IDLE);
        assert_true(after.guest.open);
        assert_int_equal(after.guest.used, modes[i] != PORT_LEGACY);
        assert_int_equal(port_next_message(&after), PORT_SEND_OPEN);
        assert_false(after.host_open);
        wakes = 0;
        port_resumed(&after);
        assert_int_equal(wakes, 1);
    }
}

static void a_removed_port_is_added_again(void **state)
{
    struct port before = make(PORT_REPLUG), after = make(PORT_REPLUG);
    struct port_kept kept;
    before.state = PORT_REMOVED;
    before.to_send = PORT_SEND_REMOVE;
    port_keep(&before, &kept);
    assert_true(port_take_kept(&after, &kept, 5));
    assert_int_equal(port_next_message(&after), PORT_SEND_REMOVE);
    assert_true(after.due_ns == PORT_NEVER); /* the driver was not told yet */
    before.to_send = 0;
    port_keep(&before, &kept);
    after = make(PORT_REPLUG);
    assert_true(port_take_kept(&after, &kept, 5));
    assert_true(after.due_ns > 5 && after.due_ns != PORT_NEVER);
}

/* Input that the guest had not read has its time after a death too, before the port is removed. */
static void unread_input_is_known(void **state)
{
    struct port before = make(PORT_REPLUG), after = make(PORT_REPLUG);
    struct port_kept kept;
    before.guest = (struct port_guest){.plugged = true, .ready = true, .open = true};
    before.state = PORT_ON;
    before.input.full = 32;
    port_keep(&before, &kept);
    assert_true(port_take_kept(&after, &kept, 77));
    assert_int_equal(after.input.full, 32);
    assert_true(after.read_ns == 77);
}

static void a_session_is_taken_as_it_was(void **state)
{
    struct port before = make(PORT_HANDSHAKE), after = make(PORT_HANDSHAKE);
    struct port_kept kept;
    uint8_t *rest = calloc(1, 7);
    assert_non_null(rest);
    before.guest = (struct port_guest){.plugged = true, .ready = true, .open = true};
    before.state = PORT_ON;
    before.host_open = true;
    before.output.at = 5;
    before.output.rest_at = 3;
    before.output.rest_len = 10;
    before.handed_over = true;
    port_keep(&before, &kept);
    assert_int_equal(kept.rest_len, 7);
    assert_true(port_take_kept(&after, &kept, 0));
    port_take_session(&after, &kept, rest, 0);
    assert_int_equal(after.state, PORT_ON);
    assert_false(after.guest.used);
    assert_true(after.host_open);
    assert_int_equal(port_next_message(&after), 0);
    assert_int_equal(after.output.at, 5);
    assert_int_equal(after.output.rest_len, 7);
    port_done(&after);
}

static void impossible_ports_are_refused(void **state)
{
    static const struct port_kept lies[] = {{.plugged = 2},
                                            {.open = 0x80},
                                            {.removed = 1, .plugged = 1},
                                            {.plugged = 1, .to_send = PORT_SEND_REMOVE},
                                            {.open = 1},
                                            {.ready = 1},
                                            {.removed = 1, .open = 1},
                                            {.to_send = 0x40},
                                            {.host_open = 3},
                                            {.handed_over = 1, .state = PORT_DRAINING + 1},
                                            {.handed_over = 1, .state = PORT_REMOVED},
                                            {.handed_over = 1, .rest_len = (1u << 20) + 1},
                                            {.handed_over = 1, .used = 2}};
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct port port = make(PORT_REPLUG);
        assert_false(port_take_kept(&port, &lies[i], 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_descriptor_has_had_its_session),
        cmocka_unit_test(a_removed_port_is_added_again),
        cmocka_unit_test(unread_input_is_known),
        cmocka_unit_test(a_session_is_taken_as_it_was),
        cmocka_unit_test(impossible_ports_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
