// SPDX-License-Identifier: BSD-3-Clause
/* The heartbeat, with a remote that answers, is slow or does not. */
#include "support.h"

#include <sys/mman.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

static void a_heartbeat_does_not_greet(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &options);
    for (unsigned i = 0; i < 3; i++)
        fixture_dispatch(&f);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_remote_that_reads_slowly_is_not_hung(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    fixture_start_greeted(&f, &options);
    uint8_t *ram = fixture_lend_memory(&f);
    fixture_ask_for_memory(&f.remote);
    for (unsigned i = 0; i < 12; i++) { /* a part of it, so that something always waits */
        fixture_read_some(&f.remote, 65536);
        fixture_dispatch(&f);
        fixture_check_state(&f, OB_CLIENT_ALIVE);
    }
    while (ob_client_state(f.client) == OB_CLIENT_ALIVE)
        fixture_dispatch(&f); /* it does not read any more */
    fixture_check_state(&f, OB_CLIENT_HUNG);
    while (ob_client_state(f.client) == OB_CLIENT_HUNG) {
        fixture_read_some(&f.remote, 65536);
        fixture_dispatch(&f);
    }
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_heartbeat_does_not_greet),
        TEST(a_remote_that_reads_slowly_is_not_hung),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
