// SPDX-License-Identifier: BSD-3-Clause
/* The guest's accesses: which there are, what a failed read gives, and writes that are not waited
 * for. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

static void configuration_has_accesses_of_1_2_and_4_bytes(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    for (unsigned size = 0; size <= 9; size++) {
        uint32_t value = 0;
        if (size == 1 || size == 2 || size == 4) {
            assert_int_equal(
                FIXTURE_SERVED(&f, 1, ob_client_config_read(f.client, 0, size, &value)), 0);
            assert_int_equal(value, 0x11111111u >> (32 - 8 * size));
            assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_config_write(f.client, 4, size, 0)),
                             0);
            assert_int_equal(f.remote.last.len, VFIO_USER_ACCESS_LEN + size);
        } else {
            assert_int_equal(ob_client_config_read(f.client, 0, size, &value), -EINVAL);
            assert_int_equal(value, UINT32_MAX);
            assert_int_equal(ob_client_config_write(f.client, 4, size, 0), -EINVAL);
        }
    }
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

static void a_bar_is_accessed_inside_only(void **state)
{
    static const struct {
        unsigned bar;
        uint64_t offset;
        unsigned size;
    } cases[] = {{0, 0, 0},
                 {0, 0, 3},
                 {0, 0, 16},
                 {0, BAR_LEN, 1},
                 {0, BAR_LEN - 1, 2},
                 {0, UINT64_MAX, 1},
                 {0, UINT64_MAX - 7, 8},
                 {1, 0, 1},
                 {6, 0, 1},
                 {UINT32_MAX, 0, 1}};
    struct fixture f;
    uint64_t value = 0;
    fixture_start_probed(&f, NULL);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            ob_client_bar_read(f.client, cases[i].bar, cases[i].offset, cases[i].size, &value),
            -EINVAL);
        assert_true(value == UINT64_MAX);
        assert_int_equal(
            ob_client_bar_write(f.client, cases[i].bar, cases[i].offset, cases[i].size, 0),
            -EINVAL);
    }
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_bar_read(f.client, 0, BAR_LEN - 8, 8, &value)),
                     0);
    assert_true(value == 0); /* as the remote says */
    fixture_stop(&f);
}

static void a_bar_is_not_accessed_before_a_probe(void **state)
{
    struct fixture f;
    uint64_t value = 0;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(ob_client_bar_read(f.client, 0, 0, 4, &value), -EINVAL);
    assert_int_equal(ob_client_bar_write(f.client, 0, 0, 4, 0), -EINVAL);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

static void a_read_that_fails_gives_the_ones_of_its_size(void **state)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    struct fixture f;
    fixture_start_probed(&f, NULL);
    f.remote.refused[VFIO_USER_REGION_READ] = EIO;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t value = 0;
        assert_int_equal(
            FIXTURE_SERVED(&f, 1, ob_client_bar_read(f.client, 0, 0, sizes[i], &value)),
            -EREMOTEIO);
        assert_true(value == UINT64_MAX >> (64 - 8 * sizes[i]));
        fixture_check_state(&f, OB_CLIENT_ALIVE);
    }
    fixture_stop(&f);
}

static void a_write_has_its_lowest_byte_first(void **state)
{
    struct fixture f;
    fixture_start_probed(&f, NULL);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_bar_write(f.client, 0, 0x10, 4, 0x12345678)),
                     0);
    assert_memory_equal(f.remote.last.payload, "\x10\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0\x78\x56\x34\x12",
                        20);
    fixture_stop(&f);
}

/* A probed client that does not wait for writes. @bar_register: 1 for ports. */
static void start_posting(struct fixture *f, uint32_t bar_register)
{
    const struct ob_client_options options = {.size = sizeof(options), .posted_writes = true};
    struct ob_client_info info;
    f->client = fake_remote_start(&f->remote, &options);
    f->remote.bar_register = bar_register;
    assert_int_equal(FIXTURE_SERVED(f, GREETING + 9, ob_client_probe(f->client, &info, NULL)), 0);
}

static void posted_writes_are_those_to_memory(void **state)
{
    struct fixture f;
    struct message message;
    start_posting(&f, 0);
    assert_int_equal(ob_client_bar_write(f.client, 0, 8, 2, 0x1234), 0); /* nobody serves */
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.command, VFIO_USER_REGION_WRITE);
    assert_int_equal(message.header.flags, VFIO_USER_NO_REPLY);
    assert_memory_equal(message.payload + VFIO_USER_ACCESS_LEN, "\x34\x12", 2);
    fixture_stop(&f);
    start_posting(&f, 1);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_bar_write(f.client, 0, 8, 2, 0x1234)), 0);
    assert_int_equal(f.remote.last.header.flags, VFIO_USER_TYPE_COMMAND);
    fixture_stop(&f);
}

static void a_reset_is_one_message(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_reset(f.client)), 0);
    assert_int_equal(f.remote.last.header.command, VFIO_USER_DEVICE_RESET);
    assert_int_equal(f.remote.last.len, 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(configuration_has_accesses_of_1_2_and_4_bytes),
        TEST(a_bar_is_accessed_inside_only),
        TEST(a_bar_is_not_accessed_before_a_probe),
        TEST(a_read_that_fails_gives_the_ones_of_its_size),
        TEST(a_write_has_its_lowest_byte_first),
        TEST(posted_writes_are_those_to_memory),
        TEST(a_reset_is_one_message),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
