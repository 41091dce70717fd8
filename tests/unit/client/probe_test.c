// SPDX-License-Identifier: BSD-3-Clause
/* The probe against configuration spaces: those of src/pci, and some that no device should have. */
#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "client/probe.h"
#include "pci/function.h"

/* A configuration space of which a test says what sticks, and which can fail. */
struct fake {
    uint8_t bytes[256];
    uint8_t writable[256];
    int accesses_left; /* then -ETIMEDOUT */
};

static int fake_read(void *context, uint32_t offset, unsigned size, uint32_t *ret_value)
{
    struct fake *fake = context;
    if (fake->accesses_left-- == 0)
        return -ETIMEDOUT;
    *ret_value = 0;
    for (unsigned i = 0; i < size; i++)
        *ret_value |= (uint32_t)fake->bytes[offset + i] << (8 * i);
    return 0;
}

static int fake_write(void *context, uint32_t offset, unsigned size, uint32_t value)
{
    struct fake *fake = context;
    if (fake->accesses_left-- == 0)
        return -ETIMEDOUT;
    for (unsigned i = 0; i < size; i++) {
        uint8_t mask = fake->writable[offset + i];
        uint8_t byte = (uint8_t)(value >> (8 * i));
        fake->bytes[offset + i] = (uint8_t)((fake->bytes[offset + i] & ~mask) | (byte & mask));
    }
    return 0;
}

static struct probe_config config_of(struct fake *fake)
{
    fake->accesses_left = -1;
    return (struct probe_config){.read = fake_read, .write = fake_write, .context = fake};
}

static void put32(uint8_t *table, unsigned offset, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        table[offset + i] = (uint8_t)(value >> (8 * i));
}

static int function_read(void *context, uint32_t offset, unsigned size, uint32_t *ret_value)
{
    return pci_config_read(context, offset, size, ret_value);
}

static int function_write(void *context, uint32_t offset, unsigned size, uint32_t value)
{
    return pci_config_write(context, offset, size, value);
}

static void a_function_is_found_as_it_was_described(void **state)
{
    const struct ob_device_desc desc = {
        .name = "all kinds",
        .vendor_id = 0x1af4,
        .device_id = 0x10f0,
        .subsystem_vendor_id = 0x1234,
        .subsystem_id = 0x5678,
        .class_code = 0x010802,
        .revision = 3,
        .intx = true,
        .bars = {[0] = {.kind = OB_BAR_MEM64, .flags = OB_BAR_PREFETCHABLE, .size = 1ull << 32},
                 [2] = {.kind = OB_BAR_IO, .size = 64},
                 [3] = {.kind = OB_BAR_MEM32, .size = 16},
                 [4] = {.kind = OB_BAR_MEM64, .size = 0x4000}},
    };
    struct pci_function function;
    struct ob_client_info info;
    assert_int_equal(pci_function_init(&function, &desc, NULL), 0);
    pci_config_write(&function, 0x1c, 4, 0xfebf0000);
    const struct probe_config config = {
        .read = function_read, .write = function_write, .context = &function};
    assert_int_equal(probe_device(&config, &info, NULL), 0);
    assert_false(info.seventh_region);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        assert_int_equal(info.bars[i].kind, desc.bars[i].kind);
        assert_int_equal(info.bars[i].flags, desc.bars[i].flags);
        assert_int_equal(info.bars[i].size, desc.bars[i].size);
    }
    assert_int_equal(info.vendor_id, desc.vendor_id);
    assert_int_equal(info.device_id, desc.device_id);
    assert_int_equal(info.subsystem_vendor_id, desc.subsystem_vendor_id);
    assert_int_equal(info.subsystem_id, desc.subsystem_id);
    assert_int_equal(info.class_code, desc.class_code);
    assert_int_equal(info.revision, desc.revision);
    assert_true(info.intx);
    uint32_t address;
    pci_config_read(&function, 0x1c, 4, &address);
    assert_int_equal(address, 0xfebf0000);
    pci_function_done(&function);
}

static void a_seventh_region_is_noticed(void **state)
{
    struct fake fake = {.bytes = {0xf4, 0x1a}};
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    put32(fake.writable, 0x28, 0xfffff000);
    assert_int_equal(probe_device(&config, &info, NULL), 0);
    assert_true(info.seventh_region);
}

static void nothing_but_ones_is_no_device(void **state)
{
    struct fake fake;
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    struct ob_fault fault = {0};
    memset(fake.bytes, 0xff, sizeof(fake.bytes));
    assert_int_equal(probe_device(&config, &info, &fault), -ENODEV);
}

static void sizes_that_are_none_are_refused(void **state)
{
    static const uint32_t masks[] = {0xff00ff00, 0x0ffff000, 0xfffffff0 & ~0x10000u, 0x00000010};
    for (unsigned i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        struct fake fake = {.bytes = {0xf4, 0x1a}};
        struct probe_config config = config_of(&fake);
        struct ob_client_info info;
        struct ob_fault fault = {0};
        put32(fake.writable, 0x18, masks[i]);
        assert_int_equal(probe_device(&config, &info, &fault), -EPROTO);
        assert_non_null(strstr(fault.text, "BAR 2"));
    }
}

/* The flags alone stay: 2^64 bytes, which is no size either. */
static void a_bar_of_64_bits_that_keeps_none_is_refused(void **state)
{
    struct fake fake = {.bytes = {0xf4, 0x1a}};
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    struct ob_fault fault = {0};
    put32(fake.bytes, 0x14, PCI_BASE_ADDRESS_MEM_TYPE_64);
    assert_int_equal(probe_device(&config, &info, &fault), -EPROTO);
    assert_non_null(strstr(fault.text, "BAR 1"));
}

static void a_last_bar_of_64_bits_is_refused(void **state)
{
    struct fake fake = {.bytes = {0xf4, 0x1a}};
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    put32(fake.bytes, 0x24, PCI_BASE_ADDRESS_MEM_TYPE_64);
    put32(fake.writable, 0x24, 0xfffff000);
    assert_int_equal(probe_device(&config, &info, NULL), -EPROTO);
}

static void port_bars_may_leave_their_upper_half_out(void **state)
{
    struct fake fake = {.bytes = {0xf4, 0x1a}};
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    put32(fake.bytes, 0x10, PCI_BASE_ADDRESS_SPACE_IO);
    put32(fake.writable, 0x10, 0x0000ff00);
    assert_int_equal(probe_device(&config, &info, NULL), 0);
    assert_int_equal(info.bars[0].kind, OB_BAR_IO);
    assert_int_equal(info.bars[0].size, 256);
}

static void a_remote_that_stops_answering_ends_it(void **state)
{
    struct fake fake = {.bytes = {0xf4, 0x1a}};
    struct probe_config config = config_of(&fake);
    struct ob_client_info info;
    assert_int_equal(probe_device(&config, &info, NULL), 0);
    int accesses = -1 - fake.accesses_left;
    for (int i = 0; i < accesses; i++) {
        fake.accesses_left = i;
        assert_int_equal(probe_device(&config, &info, NULL), -ETIMEDOUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_function_is_found_as_it_was_described),
        TEST(a_seventh_region_is_noticed),
        TEST(nothing_but_ones_is_no_device),
        TEST(sizes_that_are_none_are_refused),
        TEST(a_bar_of_64_bits_that_keeps_none_is_refused),
        TEST(a_last_bar_of_64_bits_is_refused),
        TEST(port_bars_may_leave_their_upper_half_out),
        TEST(a_remote_that_stops_answering_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
