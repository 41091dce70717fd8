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

static void a_beat_asks_for_the_ids(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    fixture_start_greeted(&f, &options);
    for (unsigned i = 0; i < 3; i++) {
        struct message message;
        uint8_t answer[VFIO_USER_ACCESS_LEN + 4] = {[8] = 7, [12] = 4};
        fixture_dispatch(&f);
        fake_remote_take(&f.remote, &message);
        assert_int_equal(message.header.command, VFIO_USER_REGION_READ);
        assert_memory_equal(message.payload, answer, VFIO_USER_ACCESS_LEN);
        fake_remote_say(&f.remote, message.header.id, message.header.command, VFIO_USER_TYPE_REPLY,
                        answer, sizeof(answer));
        while (f.client->engine.num_calls > 0 && f.client->state == OB_CLIENT_ALIVE)
            client_catch_up(f.client);
    }
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_remote_that_misses_a_beat_is_hung_and_not_asked_again(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1};
    struct fixture f;
    struct message message;
    fixture_start_greeted(&f, &options);
    while (ob_client_state(f.client) == OB_CLIENT_ALIVE)
        fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_HUNG);
    fixture_dispatch(&f); /* another beat */
    fake_remote_take(&f.remote, &message);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fake_remote_say(&f.remote, message.header.id, message.header.command,
                    VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
    client_catch_up(f.client);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_remote_that_is_lost_has_no_heartbeat(void **state)
{
    const struct ob_client_options options = {
        .size = sizeof(options), .heartbeat_ms = 1, .policy = OB_CLIENT_FAIL};
    struct fixture f;
    fixture_start_greeted(&f, &options);
    while (ob_client_state(f.client) == OB_CLIENT_ALIVE)
        fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_LOST);
    assert_int_equal(f.client->timer_fd, -1);
    assert_null(f.client->timer);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_heartbeat_does_not_greet),
        TEST(a_remote_that_reads_slowly_is_not_hung),
        TEST(a_beat_asks_for_the_ids),
        TEST(a_remote_that_misses_a_beat_is_hung_and_not_asked_again),
        TEST(a_remote_that_is_lost_has_no_heartbeat),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
