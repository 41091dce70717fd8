// SPDX-License-Identifier: BSD-3-Clause
/* Many bytes, many writes, and the ways past the client. */
#include "support.h"

#include <errno.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* Three writes that are one message where the remote takes that. */
static const struct ob_client_write writes[] = {
    {.offset = 0, .size = 4}, {.offset = 8, .size = 8}, {.offset = 16, .size = 1}};

static int write_many(struct fixture *f, unsigned messages)
{
    fake_remote_serve(&f->remote, messages);
    int err = ob_client_bar_write_many(f->client, writes, 3);
    fake_remote_join(&f->remote);
    return err;
}

static void many_writes_are_no_longer_than_the_remote_takes(void **state)
{
    struct fixture f;
    fixture_start_probed(&f, NULL);
    assert_int_equal(write_many(&f, 1), 0);
    assert_int_equal(f.remote.last.payload[0], 3);
    fixture_stop(&f);
    fixture_start_probed(&f,
                         "{\"capabilities\":{\"max_data_xfer_size\":48,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 2), 0);
    assert_int_equal(f.remote.last.payload[0], 1);
    fixture_stop(&f);
    fixture_start_probed(&f,
                         "{\"capabilities\":{\"max_data_xfer_size\":8,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 3), 0);
    assert_int_equal(f.remote.last.header.command, VFIO_USER_REGION_WRITE);
    fixture_stop(&f);
}

static void writes_that_were_not_done_end_it(void **state)
{
    struct fixture f;
    fixture_start_probed(&f, NULL);
    f.remote.written = 2;
    assert_int_equal(write_many(&f, 1), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_writes_are_no_longer_than_the_remote_takes),
        TEST(writes_that_were_not_done_end_it),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
