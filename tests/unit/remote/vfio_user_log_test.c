// SPDX-License-Identifier: BSD-3-Clause
/* The log of written pages of a vfio-user remote. */
#include "support.h"

#include <errno.h>

#include <outboard/client_memory.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

static void a_report_that_came_too_late_is_made_up_for(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4UL * 4096};
    struct fixture f;
    struct message message;
    uint8_t bits[8], answer[40] = {0};
    fixture_start_greeted(&f, &fixture_defaults);
    fixture_start_log(&f, range.len);
    f.client->options.timeout_ms = 20;
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    fake_remote_say(&f.remote, message.header.id, message.header.command, VFIO_USER_TYPE_REPLY,
                    answer, sizeof(answer));
    fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    f.client->options.timeout_ms = PATIENCE_MS;
    for (unsigned i = 0; i < 2; i++) {
        fake_remote_serve(&f.remote, 1);
        assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), 0);
        fake_remote_join(&f.remote);
        assert_memory_equal(bits, i == 0 ? "\x0f\0\0\0\0\0\0" : "\0\0\0\0\0\0\0", 8);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_report_that_came_too_late_is_made_up_for),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
