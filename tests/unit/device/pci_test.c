// SPDX-License-Identifier: BSD-3-Clause
/* What an engine learns of a device's PCI part, and how it fits that to its wire. */
#include "device/pci.h"

#include "fake/server_host.h"
#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "device/device.h"
#include "device/irq.h"

#define BAR_AT 0xfe000000u

static const struct ob_device_desc desc = {
    .name = "test",
    .vendor_id = 0x1234,
    .intx = true,
    .msi_vectors = 4,
    .bars = {[0] = {.kind = OB_BAR_MEM32, .size = 4096},
             [1] = {.kind = OB_BAR_MEM32,
                    .size = 16384,
                    .flags = OB_BAR_MEMORY,
                    .memory = {.offset = 4096, .len = 8192}},
             [2] = {.kind = OB_BAR_MEM64, .size = 4096}},
};

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
};

static void set_up(struct fixture *f)
{
    static const struct ob_device_ops ops;
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &f->fake.host, &f->device, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static uint32_t config(const struct fixture *f, uint32_t offset, unsigned size)
{
    uint32_t value = 0;
    assert_int_equal(device_config_read(f->device, offset, size, &value), 0);
    return value;
}

/* Whether the list of capabilities has one with this id. */
static bool has_capability(const struct fixture *f, uint8_t id)
{
    for (uint32_t at = config(f, PCI_CAPABILITY_LIST, 1); at; at = config(f, at + 1, 1))
        if (config(f, at, 1) == id)
            return true;
    return false;
}

static void bars_are_as_described(void **state)
{
    struct fixture f;
    struct ob_bar_range range = {.offset = 1, .len = 2};
    set_up(&f);
    assert_int_equal(device_bar(f.device, 0)->size, 4096);
    assert_int_equal(device_bar(f.device, 5)->kind, OB_BAR_NONE);
    assert_int_equal(device_bar_file(f.device, 0, &range), -1);
    assert_int_equal(range.offset, 1); /* untouched */
    assert_true(device_bar_file(f.device, 1, &range) >= 0);
    assert_int_equal(range.offset, 4096);
    assert_int_equal(range.len, 8192);
    assert_true(device_bar_has_memory(f.device, 1, 4096, 8192));
    assert_false(device_bar_has_memory(f.device, 1, 4096, 8193));
    assert_false(device_bar_has_memory(f.device, 1, 4095, 1));
    tear_down(&f);
}

static void an_access_is_decoded_where_the_guest_put_the_bar(void **state)
{
    struct fixture f;
    uint64_t offset = 0;
    set_up(&f);
    assert_int_equal(device_decode(f.device, true, BAR_AT + 8, 4, &offset), -ENXIO);
    assert_int_equal(device_config_write(f.device, PCI_BASE_ADDRESS_0, 4, BAR_AT), 0);
    assert_int_equal(device_config_write(f.device, PCI_COMMAND, 2, PCI_COMMAND_MEMORY), 0);
    assert_int_equal(device_decode(f.device, true, BAR_AT + 8, 4, &offset), 0);
    assert_int_equal(offset, 8);
    assert_int_equal(device_decode(f.device, false, BAR_AT + 8, 4, &offset), -ENXIO);
    tear_down(&f);
}

static void configuration_space_has_an_end(void **state)
{
    struct fixture f;
    uint8_t bytes[8] = {0};
    uint32_t value = 0;
    set_up(&f);
    uint32_t len = device_config_len(f.device);
    assert_int_equal(len, 256);
    assert_int_equal(config(&f, PCI_VENDOR_ID, 2), 0x1234);
    assert_int_equal(device_config_read(f.device, len, 1, &value), -EINVAL);
    assert_int_equal(device_config_read_bytes(f.device, len - 8, bytes, 8), 0);
    assert_int_equal(device_config_read_bytes(f.device, len - 7, bytes, 8), -EINVAL);
    assert_int_equal(device_config_write_bytes(f.device, len - 7, bytes, 8), -EINVAL);
    tear_down(&f);
}

static void what_a_wire_hides_is_there_for_the_next(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_true(has_capability(&f, PCI_CAP_ID_MSI));
    device_hide_capability(f.device, PCI_CAP_ID_MSI);
    assert_int_equal(device_narrow_bars(f.device, NULL), 0);
    assert_false(has_capability(&f, PCI_CAP_ID_MSI));
    assert_int_equal(device_bar(f.device, 2)->kind, OB_BAR_MEM32);
    device_unfit(f.device);
    assert_true(has_capability(&f, PCI_CAP_ID_MSI));
    assert_int_equal(device_bar(f.device, 2)->kind, OB_BAR_MEM64);
    tear_down(&f);
}

static void each_kind_of_interrupt_has_its_vectors(void **state)
{
    struct fixture f;
    static const unsigned counts[IRQ_KIND_COUNT] = {
        [IRQ_INTX] = 1, [IRQ_MSI] = 4, [IRQ_MSIX] = 0, [IRQ_ERROR] = 1, [IRQ_REQUEST] = 1};
    set_up(&f);
    for (unsigned kind = 0; kind < IRQ_KIND_COUNT; kind++)
        assert_int_equal(irq_count(f.device, (enum irq_kind)kind), counts[kind]);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bars_are_as_described),
        TEST(an_access_is_decoded_where_the_guest_put_the_bar),
        TEST(configuration_space_has_an_end),
        TEST(what_a_wire_hides_is_there_for_the_next),
        TEST(each_kind_of_interrupt_has_its_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
