// SPDX-License-Identifier: BSD-3-Clause
/* Doorbells in great number: what none of them costs, and what each does. */
#include "device/doorbells.h"

#include "failing_alloc.h"
#include "fake/server_host.h"
#include "support.h"

#include <errno.h>

#include "device/device.h"

#define BAR_SIZE (UINT64_C(4) * OB_DOORBELLS)

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    unsigned rings;
    unsigned last; /* number that rang */
};

static void rings(void *state, unsigned number)
{
    struct fixture *f = state;
    f->rings++;
    f->last = number;
}

/* As many doorbells as there can be; two share each number. */
static int make(struct fixture *f)
{
    static struct ob_doorbell doorbells[OB_DOORBELLS];
    static const struct ob_device_ops ops = {.doorbell = rings};
    for (unsigned i = 0; i < OB_DOORBELLS; i++)
        doorbells[i] = (struct ob_doorbell){
            .offset = UINT64_C(4) * i, .size = 4, .number = i % OB_DOORBELL_NUMBERS};
    const struct ob_device_desc desc = {.name = "test",
                                        .bars = {{.kind = OB_BAR_MEM32, .size = BAR_SIZE}},
                                        .doorbells = doorbells,
                                        .num_doorbells = OB_DOORBELLS};
    return device_new(&desc, &ops, f, &f->fake.host, &f->device, NULL);
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(make(f), 0);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static void doorbells_cost_a_descriptor_when_they_are_asked_for(void **state)
{
    struct fixture f;
    unsigned count;
    set_up(&f);
    const struct ob_doorbell *list = doorbells_list(f.device, &count);
    assert_int_equal(count, OB_DOORBELLS);
    assert_int_equal(list[OB_DOORBELLS - 1].number, OB_DOORBELL_NUMBERS - 1);
    assert_int_equal(fake_open_count(&f.fake), 0);
    int fd = doorbells_fd(f.device, 1000);
    assert_true(fd >= 0);
    assert_int_equal(doorbells_fd(f.device, 1000), fd);
    assert_int_equal(fake_open_count(&f.fake), 1);
    tear_down(&f);
}

static void each_number_is_told(void **state)
{
    struct fixture f;
    static const unsigned numbers[] = {0, 16, 1023, 1024, OB_DOORBELL_NUMBERS - 1};
    set_up(&f);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        fake_fire(&f.fake, doorbells_fd(f.device, numbers[i]));
        assert_int_equal(f.rings, i + 1);
        assert_int_equal(f.last, numbers[i]);
    }
    tear_down(&f);
}

static void what_the_world_has_no_more_of_is_an_errno(void **state)
{
    struct fixture f;
    set_up(&f);
    unsigned got = 0;
    while (doorbells_fd(f.device, got) >= 0)
        got++;
    assert_int_equal(got, FAKE_DESCRIPTORS);
    assert_int_equal(doorbells_fd(f.device, got), -EMFILE);
    assert_true(doorbells_fd(f.device, got - 1) >= 0);
    device_disconnect(f.device);
    assert_int_equal(fake_open_count(&f.fake), 0);
    f.fake.refuses_watch = true;
    assert_int_equal(doorbells_fd(f.device, 0), -ENOMEM);
    assert_int_equal(fake_open_count(&f.fake), 0);
    tear_down(&f);
}

static void no_memory_leaves_nothing(void **state)
{
    for (unsigned nth = 1;; nth++) {
        struct fixture f = {0};
        fake_host_init(&f.fake);
        fail_allocation(nth);
        int err = make(&f);
        bool failed = allocation_failed();
        assert_int_equal(err, failed ? -ENOMEM : 0);
        tear_down(&f);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(doorbells_cost_a_descriptor_when_they_are_asked_for),
        TEST(each_number_is_told),
        TEST(what_the_world_has_no_more_of_is_an_errno),
        TEST(no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
