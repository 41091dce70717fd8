// SPDX-License-Identifier: BSD-3-Clause
/* INTx of a remote: by eventfds of the VMM, emulated, and unmasked by messages. */
#include "support.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(intx_is_unmasked_by_message),
        TEST(unmasking_waits_its_turn_and_nobody_for_it),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
