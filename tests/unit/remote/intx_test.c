// SPDX-License-Identifier: BSD-3-Clause
/* INTx of a remote: by eventfds of the VMM, emulated, and unmasked by messages. */
#include "support.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/client_irq.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* INTx by eventfds of ours, with a remote that does not know the second. */
static void set_intx(struct fixture *f, int trigger, int resample)
{
    f->remote.refuses_resample = true;
    fake_remote_serve(&f->remote, 3);
    assert_int_equal(ob_client_set_intx(f->client, trigger, resample), 0);
    fake_remote_join(&f->remote);
}

static void intx_is_unmasked_by_message(void **state)
{
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    struct fixture f;
    struct message message;
    fixture_start_greeted(&f, &fixture_defaults);
    set_intx(&f, trigger, resample);
    assert_int_equal(eventfd_write(resample, 1), 0);
    fixture_dispatch(&f);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.command, VFIO_USER_DEVICE_SET_IRQS);
    assert_int_equal(message.header.flags, VFIO_USER_NO_REPLY);
    assert_memory_equal(message.payload, "\x14\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 20);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
    close(trigger);
    close(resample);
}

static void unmasking_waits_its_turn_and_nobody_for_it(void **state)
{
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    struct fixture f;
    struct message message;
    fixture_start_greeted(&f, &fixture_defaults);
    uint8_t *ram = fixture_lend_memory(&f);
    set_intx(&f, trigger, resample);
    fixture_ask_for_memory(&f.remote);
    assert_int_equal(eventfd_write(resample, 1), 0);
    fixture_dispatch(&f);
    ob_client_dispatch(f.client);
    const size_t reply_len = VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + RAM_LEN;
    for (size_t got = 0; got < reply_len;) {
        got += fixture_read_some(&f.remote, reply_len - got < 65536 ? reply_len - got : 65536);
        ob_client_dispatch(f.client);
    }
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.command, VFIO_USER_DEVICE_SET_IRQS);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
    close(trigger);
    close(resample);
}

static void on_raised(void *argument)
{
    unsigned *interrupts = argument;
    ++*interrupts;
}

/* A client that emulates INTx and counts how often the line goes up. */
static void start_emulating(struct fixture *f, unsigned *interrupts)
{
    const struct ob_client_options options = {
        .size = sizeof(options), .callbacks = {.intx_raised = on_raised}, .argument = interrupts};
    fixture_start_greeted(f, &options);
    assert_int_equal(FIXTURE_SERVED(f, 3, ob_client_emulate_intx(f->client)), 0);
}

static void what_is_signalled_while_the_line_is_up_is_not_told(void **state)
{
    unsigned interrupts = 0;
    struct fixture f;
    uint64_t signals;
    start_emulating(&f, &interrupts);
    ob_client_intx_eoi(f.client); /* of no interrupt */
    assert_int_equal(eventfd_read(f.client->intx.resample_fd, &signals), -1);
    for (unsigned round = 1; round <= 2; round++) {
        assert_int_equal(eventfd_write(f.client->intx.trigger_fd, 1), 0);
        fixture_dispatch(&f);
        assert_int_equal(interrupts, round);
        assert_int_equal(eventfd_write(f.client->intx.trigger_fd, 1), 0);
        ob_client_dispatch(f.client);
        assert_int_equal(interrupts, round);
        ob_client_intx_eoi(f.client);
        assert_int_equal(eventfd_read(f.client->intx.resample_fd, &signals), 0);
        ob_client_dispatch(f.client); /* what came meanwhile is over */
        assert_int_equal(interrupts, round);
    }
    fixture_stop(&f);
}

static void eventfds_that_the_remote_has_filled_are_waited_for_by_nobody(void **state)
{
    unsigned interrupts = 0;
    struct fixture f;
    uint64_t signals;
    start_emulating(&f, &interrupts);
    assert_int_equal(eventfd_write(f.client->intx.trigger_fd, UINT64_MAX - 1), 0);
    assert_int_equal(eventfd_write(f.client->intx.resample_fd, UINT64_MAX - 1), 0);
    fixture_dispatch(&f);
    ob_client_intx_eoi(f.client);
    assert_int_equal(eventfd_read(f.client->intx.resample_fd, &signals), 0);
    assert_int_equal(signals, 1);
    assert_int_equal(interrupts, 1);
    fixture_stop(&f);
}

static void a_descriptor_that_is_not_open_is_not_sent(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(ob_client_set_intx(f.client, -1, f.remote.fd), -EBADF);
    assert_int_equal(ob_client_set_intx(f.client, f.remote.fd, -1), -EBADF);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

static void a_remote_that_refuses_intx_changes_nothing(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    f.remote.refused[VFIO_USER_DEVICE_SET_IRQS] = EINVAL;
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_emulate_intx(f.client)), -EREMOTEIO);
    assert_int_equal(f.client->intx.trigger_fd, -1);
    assert_int_equal(f.client->intx.unmask_fd, -1);
    fixture_stop(&f);
}

static void a_remote_that_is_lost_has_no_eventfds_of_ours(void **state)
{
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    set_intx(&f, trigger, resample);
    f.remote.refuses_resample = false;
    assert_int_equal(FIXTURE_SERVED(&f, 3, ob_client_emulate_intx(f.client)), 0);
    assert_int_equal(f.client->intx.unmask_fd, -1); /* the remote watches it now */
    set_intx(&f, trigger, resample);
    assert_true(f.client->intx.unmask_fd >= 0);
    client_lose(f.client, -ENOTCONN, "it has gone");
    assert_int_equal(f.client->intx.trigger_fd, -1);
    assert_int_equal(f.client->intx.resample_fd, -1);
    assert_int_equal(f.client->intx.unmask_fd, -1);
    fixture_stop(&f);
    close(trigger);
    close(resample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(intx_is_unmasked_by_message),
        TEST(unmasking_waits_its_turn_and_nobody_for_it),
        TEST(what_is_signalled_while_the_line_is_up_is_not_told),
        TEST(eventfds_that_the_remote_has_filled_are_waited_for_by_nobody),
        TEST(a_descriptor_that_is_not_open_is_not_sent),
        TEST(a_remote_that_refuses_intx_changes_nothing),
        TEST(a_remote_that_is_lost_has_no_eventfds_of_ours),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
