// SPDX-License-Identifier: BSD-3-Clause
/* Which vectors a peer uses, as it gives eventfds, replaces them and takes them back. */
#include "device/irq.h"

#include "fake/server_host.h"
#include "support.h"

#include <outboard/irq.h>

#include <errno.h>

#include "device/device.h"

#define VECTORS 2048u

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
};

static void set_up(struct fixture *f)
{
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "test",
        .intx = true,
        .msix_vectors = VECTORS,
        .bars = {{.kind = OB_BAR_MEM32, .size = 65536}},
    };
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &f->fake.host, &f->device, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static int give(struct fixture *f, unsigned vector)
{
    int fd = fake_event(&f->fake);
    assert_int_equal(irq_assign(f->device, IRQ_MSIX, vector, 1, &fd), 0);
    return fd;
}

static void take(struct fixture *f, unsigned vector)
{
    assert_int_equal(irq_assign(f->device, IRQ_MSIX, vector, 1, NULL), 0);
}

/* With one eventfd of any vector the guest uses MSI-X: other vectors are pending, not refused. */
static void one_eventfd_tells_that_messages_are_used(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(ob_irq_signal(f.device, 0), -ENOTCONN);
    assert_true(ob_irq_ends_by_access(f.device));
    int fd = give(&f, VECTORS - 1);
    assert_int_equal(ob_irq_signal(f.device, 0), 0);
    assert_int_equal(ob_irq_signal(f.device, VECTORS - 1), 0);
    assert_int_equal(fake_signals(&f.fake, fd), 1);
    assert_false(ob_irq_ends_by_access(f.device));
    assert_int_equal(fake_signals(&f.fake, give(&f, 0)), 1); /* what was pending */
    tear_down(&f);
}

static void the_last_eventfd_that_goes_ends_it(void **state)
{
    struct fixture f;
    set_up(&f);
    give(&f, 3);
    give(&f, 3); /* in place of the other */
    give(&f, 1000);
    take(&f, 7); /* had none */
    take(&f, 3);
    take(&f, 3);
    assert_int_equal(ob_irq_signal(f.device, 0), 0);
    take(&f, 1000);
    assert_int_equal(ob_irq_signal(f.device, 0), -ENOTCONN);
    give(&f, 5);
    give(&f, 6);
    assert_int_equal(irq_assign(f.device, IRQ_MSIX, 0, VECTORS, NULL), 0);
    assert_int_equal(ob_irq_signal(f.device, 0), -ENOTCONN);
    assert_int_equal(fake_open_count(&f.fake), 0);
    tear_down(&f);
}

static void a_peer_that_goes_takes_its_eventfds_along(void **state)
{
    struct fixture f;
    set_up(&f);
    give(&f, 0);
    give(&f, 1);
    device_disconnect(f.device);
    assert_int_equal(fake_open_count(&f.fake), 0);
    assert_int_equal(ob_irq_signal(f.device, 2), -ENOTCONN);
    device_reset(f.device);
    assert_true(ob_irq_ends_by_access(f.device));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_eventfd_tells_that_messages_are_used),
        TEST(the_last_eventfd_that_goes_ends_it),
        TEST(a_peer_that_goes_takes_its_eventfds_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
