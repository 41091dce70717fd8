// SPDX-License-Identifier: BSD-3-Clause
/* The greeting of a vfio-user remote and what a probe takes from it. */
#include "support.h"

#include <errno.h>

#include "failing_alloc.h"
#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* Greets a remote that says something else than it should. */
static int greet(struct fixture *f, unsigned messages)
{
    uint32_t value;
    fake_remote_serve(&f->remote, messages);
    int err = fixture_read_ids(f, &value);
    assert_int_equal(value, UINT32_MAX);
    fake_remote_join(&f->remote);
    fixture_check_state(f, OB_CLIENT_LOST);
    assert_int_equal(ob_client_fault(f->client)->code, err);
    return err;
}

static void another_version_is_not_spoken(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &fixture_defaults);
    f.remote.minor = 1;
    assert_int_equal(greet(&f, 1), -EPROTONOSUPPORT);
    fixture_stop(&f);
}

static void a_greeting_that_makes_no_sense_ends_it(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &fixture_defaults);
    f.remote.version = "{\"capabilities\":{\"pgsizes\":0}}";
    assert_int_equal(greet(&f, 1), -EPROTO);
    fixture_stop(&f);
}

static void a_greeting_that_is_refused_ends_it(void **state)
{
    struct fixture f;
    f.client = fake_remote_start(&f.remote, &fixture_defaults);
    f.remote.refused[VFIO_USER_DEVICE_GET_INFO] = EPERM;
    assert_int_equal(greet(&f, 2), -EREMOTEIO);
    assert_int_equal(ob_client_refusal(f.client), -EPERM);
    fixture_stop(&f);
}

static void a_greeting_that_is_not_answered_ends_it(void **state)
{
    struct fixture f;
    const struct ob_client_options options = {.size = sizeof(options), .timeout_ms = 20};
    f.client = fake_remote_start(&f.remote, &options);
    assert_int_equal(greet(&f, 0), -ENOTCONN);
    fixture_stop(&f);
}

static void a_bar_that_can_not_be_is_refused(void **state)
{
    static const struct {
        uint32_t bar_register;
        uint64_t len;
        int err;
        uint64_t size;
    } cases[] = {{0, UINT64_C(1) << 31, 0, UINT64_C(1) << 31},
                 {0, (UINT64_C(1) << 31) + 1, -EPROTO, 0},
                 {4, (UINT64_C(1) << 62) + 1, 0, UINT64_C(1) << 63},
                 {4, (UINT64_C(1) << 63) + 1, -EPROTO, 0},
                 {4, UINT64_MAX, -EPROTO, 0},
                 {1, 5, 0, 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct ob_client_info info;
        f.client = fake_remote_start(&f.remote, &fixture_defaults);
        f.remote.bar_len = cases[i].len;
        f.remote.bar_register = cases[i].bar_register;
        fake_remote_serve(&f.remote, GREETING + 9);
        assert_int_equal(ob_client_probe(f.client, &info, NULL), cases[i].err);
        fake_remote_join(&f.remote);
        if (cases[i].err == 0)
            assert_true(info.bars[0].size == cases[i].size);
        fixture_stop(&f);
    }
}

static const struct ob_client_write writes[] = {
    {.offset = 0, .size = 4}, {.offset = 8, .size = 8}, {.offset = 16, .size = 1}};

/* Calls that allocate, each as far as it gets without the remote. */
static int call_that_allocates(struct fixture *f, unsigned which, uint8_t *page)
{
    struct ob_client_eventfd eventfds[1];
    uint8_t bits[8];
    const struct ob_client_region region = {.gpa = RAM_AT, .len = 4096, .fd = -1, .memory = page};
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4096};
    switch (which) {
    case 0:
        return ob_client_map_memory(f->client, &region, NULL);
    case 1:
        return ob_client_bar_write_many(f->client, writes, 3);
    case 2:
        return ob_client_bar_eventfds(f->client, 0, eventfds, 1);
    case 3:
        return ob_client_log_start(f->client, 4096, &range, 1);
    default:
        return ob_client_log_report(f->client, 4096, &range, bits);
    }
}

static void a_call_without_memory_changes_nothing(void **state)
{
    static const unsigned allocations[] = {2, 1, 1, 1, 1};
    struct fixture f;
    uint8_t page[4096];
    fixture_start_probed(&f, NULL);
    for (unsigned which = 0; which < 5; which++) {
        if (which == 4)
            fixture_start_log(&f, 4096);
        for (unsigned nth = 1; nth <= allocations[which]; nth++) {
            fail_allocation(nth);
            int err = call_that_allocates(&f, which, page);
            assert_true(allocation_failed());
            assert_int_equal(err, -ENOMEM);
            fixture_check_state(&f, OB_CLIENT_ALIVE);
            assert_int_equal(fixture_read_some(&f.remote, 1), 0);
        }
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_version_is_not_spoken),      TEST(a_greeting_that_makes_no_sense_ends_it),
        TEST(a_greeting_that_is_refused_ends_it), TEST(a_greeting_that_is_not_answered_ends_it),
        TEST(a_bar_that_can_not_be_is_refused),   TEST(a_call_without_memory_changes_nothing),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
