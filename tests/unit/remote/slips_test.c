// SPDX-License-Identifier: BSD-3-Clause
/* What the author of a VMM may get wrong: -EINVAL before a message is sent, and never a crash. */
#include <outboard/client.h>
#include <outboard/client_memory.h>
#include <outboard/client_state.h>

#include "os/event.h"
#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_client_needs_a_place_and_a_path(void **state)
{
    struct ob_client *client = NULL;
    struct ob_fault fault = {0};
    const struct ob_client_options odd = {.size = sizeof(odd), .policy = (enum ob_client_policy)3};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(ob_client_new(ends[0], NULL, NULL, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ret_client is NULL"));
    fault = (struct ob_fault){0};
    assert_int_equal(ob_client_new(ends[0], &odd, &client, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ob_client_options.policy: got 3"));
    fault = (struct ob_fault){0};
    assert_int_equal(ob_client_connect(NULL, NULL, &client, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ob_client_connect(): path is NULL"));
    assert_null(client);
    close(ends[0]);
    close(ends[1]);
}

static void what_is_not_given_is_not_used(void **state)
{
    static const char *const wires[] = {"mpqemu", "vfio-user"};
    for (size_t i = 0; i < 2; i++) {
        const struct ob_client_options options = {.size = sizeof(options), .wire = wires[i]};
        struct ob_client *client = NULL;
        struct ob_fault fault = {0};
        char byte;
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        assert_int_equal(ob_client_new(ends[0], &options, &client, NULL), 0);
        assert_int_equal(ob_client_publish_memory(client, NULL, 1, &fault), -EINVAL);
        assert_non_null(strstr(fault.text, "regions is NULL"));
        assert_int_equal(ob_client_map_memory(client, NULL, NULL), -EINVAL);
        assert_int_equal(ob_client_probe(client, NULL, NULL), -EINVAL);
        assert_int_equal(ob_client_config_read(client, 0, 4, NULL), -EINVAL);
        assert_int_equal(ob_client_bar_read(client, 0, 0, 4, NULL), -EINVAL);
        assert_int_equal(ob_client_read_bytes(client, 7, 0, NULL, 4), -EINVAL);
        assert_int_equal(ob_client_write_bytes(client, 7, 0, NULL, 4), -EINVAL);
        assert_int_equal(ob_client_bar_write_many(client, NULL, 1), -EINVAL);
        assert_int_equal(ob_client_log_start(client, 4096, NULL, 1), -EINVAL);
        assert_int_equal(ob_client_log_report(client, 4096, NULL, NULL), -EINVAL);
        assert_int_equal(ob_client_save(client, NULL, 4), -EINVAL);
        assert_int_equal(ob_client_load(client, NULL, 4), -EINVAL);
        assert_true(ob_client_bar_areas(client, 0, NULL, 1) < 0);
        assert_true(ob_client_bar_eventfds(client, 0, NULL, 1) < 0);
        assert_int_equal(ob_client_state(client), OB_CLIENT_ALIVE);
        assert_int_equal(recv(ends[1], &byte, 1, MSG_DONTWAIT), -1);
        ob_client_free(client);
        close(ends[1]);
    }
}

int main(void)
{
    event_prepare(); /* a process does that once, and keeps a descriptor */
    const struct CMUnitTest tests[] = {
        TEST(a_client_needs_a_place_and_a_path),
        TEST(what_is_not_given_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
