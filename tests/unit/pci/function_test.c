// SPDX-License-Identifier: BSD-3-Clause
#include "pci/function.h"

#include "failing_alloc.h"
#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define GIB (KIB * KIB * KIB)

/* A function that has a BAR of each kind. */
static const struct ob_device_desc described = {
    .name = "test",
    .vendor_id = 0x1af4,
    .device_id = 0x10f0,
    .subsystem_vendor_id = 0x1234,
    .subsystem_id = 0x5678,
    .class_code = 0x010802,
    .revision = 3,
    .intx = true,
    .bars = {[0] = {.kind = OB_BAR_MEM32, .size = 4 * KIB},
             [1] = {.kind = OB_BAR_IO, .size = 256},
             [2] = {.kind = OB_BAR_MEM64, .flags = OB_BAR_PREFETCHABLE, .size = 64 * KIB}},
};

static struct pci_function make(const struct ob_device_desc *desc)
{
    struct pci_function function;
    assert_int_equal(pci_function_init(&function, desc, NULL), 0);
    return function;
}

static uint32_t get(const struct pci_function *function, uint32_t offset, unsigned size)
{
    uint32_t value;
    assert_int_equal(pci_config_read(function, offset, size, &value), 0);
    return value;
}

static void put(struct pci_function *function, uint32_t offset, unsigned size, uint32_t value)
{
    assert_int_equal(pci_config_write(function, offset, size, value), 0);
}

/* What a driver finds by writing all ones. */
static uint32_t probe(struct pci_function *function, unsigned bar)
{
    uint32_t at = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint32_t old = get(function, at, 4);
    put(function, at, 4, UINT32_MAX);
    uint32_t sized = get(function, at, 4);
    put(function, at, 4, old);
    assert_int_equal(get(function, at, 4), old);
    return sized;
}

static void header_says_what_was_described(void **state)
{
    struct pci_function f = make(&described);
    assert_int_equal(get(&f, PCI_VENDOR_ID, 4), 0x10f01af4);
    assert_int_equal(get(&f, PCI_COMMAND, 4), 0);
    assert_int_equal(get(&f, PCI_CLASS_REVISION, 4), 0x01080203);
    assert_int_equal(get(&f, PCI_HEADER_TYPE, 1), 0);
    assert_int_equal(get(&f, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(get(&f, PCI_INTERRUPT_PIN, 1), 1);
    assert_int_equal(get(&f, PCI_CARDBUS_CIS, 4), 0);
    assert_int_equal(get(&f, PCI_CAPABILITY_LIST, 1), 0);
    pci_function_done(&f);
}

static void bars_of_every_size_can_be_sized(void **state)
{
    for (uint64_t size = 16; size <= 4 * GIB; size *= 2) {
        const struct ob_device_desc wide = {.name = "test",
                                            .bars = {{.kind = OB_BAR_MEM64, .size = size}}};
        struct pci_function f = make(&wide);
        uint64_t mask = probe(&f, 0) | (uint64_t)probe(&f, 1) << 32;
        assert_int_equal(mask & 0xf, PCI_BASE_ADDRESS_MEM_TYPE_64);
        assert_true(~(mask & ~UINT64_C(0xf)) + 1 == size);
        pci_function_done(&f);
        if (size > 2 * GIB)
            continue;
        const struct ob_device_desc narrow = {.name = "test",
                                              .bars = {[5] = {.kind = OB_BAR_MEM32, .size = size}}};
        f = make(&narrow);
        assert_int_equal(probe(&f, 5), (uint32_t) ~(size - 1));
        pci_function_done(&f);
    }
    for (uint64_t size = 4; size <= 256; size *= 2) {
        const struct ob_device_desc ports = {.name = "test",
                                             .bars = {{.kind = OB_BAR_IO, .size = size}}};
        struct pci_function f = make(&ports);
        assert_int_equal(probe(&f, 0), (uint32_t) ~(size - 1) | PCI_BASE_ADDRESS_SPACE_IO);
        pci_function_done(&f);
    }
}

static void kinds_show_in_the_low_bits(void **state)
{
    struct pci_function f = make(&described);
    assert_int_equal(probe(&f, 0), 0xfffff000);
    assert_int_equal(probe(&f, 1), 0xffffff01);
    assert_int_equal(probe(&f, 2),
                     0xffff0000 | PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    assert_int_equal(probe(&f, 3), 0xffffffff);
    assert_int_equal(probe(&f, 4), 0);
    assert_int_equal(probe(&f, 5), 0);
    assert_int_equal(probe(&f, 6), 0); /* offset 0x28, which QEMU's proxy sizes too */
    pci_function_done(&f);
}

static void impossible_bars_are_refused(void **state)
{
    static const struct {
        unsigned index;
        struct ob_bar bar;
    } impossible[] = {
        {0, {.kind = OB_BAR_MEM32, .size = 0}},
        {0, {.kind = OB_BAR_MEM32, .size = 8}},
        {0, {.kind = OB_BAR_MEM32, .size = 24}},
        {0, {.kind = OB_BAR_MEM32, .size = UINT64_C(1) << 32}},
        {0, {.kind = OB_BAR_MEM64, .size = UINT64_C(1) << 33}},
        {0, {.kind = OB_BAR_IO, .size = 2}},
        {0, {.kind = OB_BAR_IO, .size = 512}},
        {0, {.kind = OB_BAR_IO, .size = 16, .flags = OB_BAR_PREFETCHABLE}},
        {0, {.kind = OB_BAR_IO, .size = 16, .flags = OB_BAR_MEMORY}},
        {0, {.kind = OB_BAR_MEM32, .size = 2048, .flags = OB_BAR_MEMORY}},
        {5, {.kind = OB_BAR_MEM64, .size = 4096}},
        {1, {.kind = OB_BAR_MEM64, .size = 4096}}, /* BAR 2 is taken */
        {0, {.kind = OB_BAR_MEM64 + 1, .size = 4096}},
    };
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        struct ob_device_desc desc = {.name = "test",
                                      .bars = {[2] = {.kind = OB_BAR_MEM32, .size = 4096}}};
        struct pci_function f;
        struct ob_fault fault = {0};
        desc.bars[impossible[i].index] = impossible[i].bar;
        assert_int_equal(pci_function_init(&f, &desc, &fault), -EINVAL);
        assert_int_equal(fault.code, -EINVAL);
        assert_non_null(strstr(fault.text, "BAR"));
    }
}

/* The bytes that writes may change, and how; an independent account of the header above. */
static uint32_t writable_byte(uint32_t offset)
{
    static const uint8_t header[64] = {
        [0x04] = 0x47, [0x05] = 0x05,                               /* command */
        [0x0c] = 0xff,                                              /* cache line size */
        [0x11] = 0xf0, [0x12] = 0xff, [0x13] = 0xff,                /* BAR 0, 4 KiB */
        [0x15] = 0xff, [0x16] = 0xff, [0x17] = 0xff,                /* BAR 1, 256 ports */
        [0x1a] = 0xff, [0x1b] = 0xff,                               /* BAR 2, 64 KiB */
        [0x1c] = 0xff, [0x1d] = 0xff, [0x1e] = 0xff, [0x1f] = 0xff, /* its upper half */
        [0x3c] = 0xff,                                              /* interrupt line */
    };
    return offset < sizeof(header) ? header[offset] : 0;
}

static void writes_of_any_width_and_offset_go_by_bytes(void **state)
{
    for (unsigned size = 1; size <= 4; size++) {
        for (uint32_t offset = 0; offset + size <= PCI_CONVENTIONAL_CONFIG_LEN; offset++) {
            struct pci_function f = make(&described);
            uint8_t expected[PCI_CONVENTIONAL_CONFIG_LEN];
            memcpy(expected, f.config, sizeof(expected));
            const uint32_t value = 0xdeadbeef;
            for (unsigned i = 0; i < size; i++) {
                uint32_t mask = writable_byte(offset + i);
                uint32_t byte = value >> (8 * i) & 0xff;
                expected[offset + i] = (uint8_t)((expected[offset + i] & ~mask) | (byte & mask));
            }
            put(&f, offset, size, value);
            assert_memory_equal(f.config, expected, sizeof(expected));
            pci_function_done(&f);
        }
    }
}

static void errors_in_the_status_are_cleared_by_ones(void **state)
{
    struct pci_function f = make(&described);
    f.config[PCI_STATUS + 1] = 0xff; /* as a device that has seen every error would have it */
    pci_function_set_interrupt_status(&f, true);
    put(&f, PCI_STATUS, 2, 0);
    assert_int_equal(get(&f, PCI_STATUS, 2), 0xff00 | PCI_STATUS_INTERRUPT);
    put(&f, PCI_STATUS, 2, PCI_STATUS_REC_MASTER_ABORT);
    assert_int_equal(get(&f, PCI_STATUS, 2), 0xdf00 | PCI_STATUS_INTERRUPT);
    put(&f, PCI_STATUS, 2, 0xffff);
    assert_int_equal(get(&f, PCI_STATUS, 2), PCI_STATUS_DEVSEL_MASK | PCI_STATUS_INTERRUPT);
    pci_function_set_interrupt_status(&f, false);
    assert_int_equal(get(&f, PCI_STATUS, 2), PCI_STATUS_DEVSEL_MASK);
    pci_function_done(&f);
}

static void check_end(bool express, uint32_t end)
{
    struct ob_device_desc desc = described;
    desc.express = express;
    struct pci_function f = make(&desc);
    uint32_t value = 0;
    assert_int_equal(pci_config_read(&f, end - 1, 1, &value), 0);
    assert_int_equal(pci_config_read(&f, end - 2, 2, &value), 0);
    assert_int_equal(pci_config_read(&f, end - 4, 4, &value), 0);
    for (unsigned size = 1; size <= 4; size++) {
        value = 0;
        assert_int_equal(pci_config_read(&f, end - size + 1, size, &value), -EINVAL);
        assert_int_equal(value, UINT32_MAX);
        assert_int_equal(pci_config_write(&f, end - size + 1, size, 0), -EINVAL);
        assert_int_equal(pci_config_read(&f, UINT32_MAX, size, &value), -EINVAL);
    }
    assert_int_equal(pci_config_read(&f, 0, 0, &value), -EINVAL);
    assert_int_equal(pci_config_read(&f, 0, 5, &value), -EINVAL);
    assert_int_equal(pci_config_read(&f, 0, UINT32_MAX, &value), -EINVAL);
    assert_int_equal(pci_config_write(&f, PCI_COMMAND, 0, 0), -EINVAL);
    assert_int_equal(pci_config_write(&f, PCI_COMMAND, 8, 0), -EINVAL);
    pci_function_done(&f);
}

static void config_space_ends_where_it_ends(void **state)
{
    check_end(false, 256);
    check_end(true, 4096);
}

static void the_command_register_gates_decoding(void **state)
{
    struct pci_function f = make(&described);
    uint64_t offset;
    put(&f, PCI_BASE_ADDRESS_0, 4, 0xfebf0000);
    put(&f, PCI_BASE_ADDRESS_1, 4, 0xc000);
    put(&f, PCI_BASE_ADDRESS_2, 4, 0x00010000);
    put(&f, PCI_BASE_ADDRESS_3, 4, 0x8);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0004, 4, &offset), -ENXIO);
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0004, 4, &offset), 0);
    assert_int_equal(offset, 4);
    assert_int_equal(pci_function_decode(&f, true, 0x80001fff8, 8, &offset), 2);
    assert_true(offset == 0xfff8);
    assert_int_equal(pci_function_decode(&f, false, 0xc000, 4, &offset), -ENXIO);
    put(&f, PCI_COMMAND, 1, PCI_COMMAND_IO);
    assert_int_equal(pci_function_decode(&f, false, 0xc0ff, 1, &offset), 1);
    assert_int_equal(offset, 255);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0004, 4, &offset), -ENXIO);
    assert_false(pci_function_may_master(&f));
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    assert_true(pci_function_may_master(&f));
    assert_true(pci_function_intx_disabled(&f));
    pci_function_done(&f);
}

static void decoding_stops_at_the_edges_of_a_bar(void **state)
{
    struct pci_function f = make(&described);
    uint64_t offset;
    put(&f, PCI_BASE_ADDRESS_0, 4, 0xfebf0000);
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0ff8, 8, &offset), 0);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0ff9, 8, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf0fff, 1, &offset), 0);
    assert_int_equal(pci_function_decode(&f, true, 0xfebf1000, 1, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, true, 0xfebeffff, 1, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, true, 0xfebeffff, 2, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, true, UINT64_MAX, 8, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, false, 0xfebf0000, 1, &offset), -ENXIO);
    put(&f, PCI_BASE_ADDRESS_0 + 2, 1, 0xbe); /* moved by one byte of its register */
    assert_int_equal(pci_function_decode(&f, true, 0xfebe0000, 1, &offset), 0);
    pci_function_done(&f);
}

static void a_bar_of_four_gib_decodes_whole(void **state)
{
    const struct ob_device_desc desc = {.name = "test",
                                        .bars = {{.kind = OB_BAR_MEM64, .size = 4 * GIB}}};
    struct pci_function f = make(&desc);
    uint64_t offset;
    put(&f, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
    put(&f, PCI_BASE_ADDRESS_1, 4, UINT32_MAX);
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(pci_function_decode(&f, true, UINT64_MAX, 1, &offset), 0);
    assert_true(offset == UINT32_MAX);
    assert_int_equal(pci_function_decode(&f, true, UINT64_MAX, 2, &offset), -ENXIO);
    pci_function_done(&f);
}

static void capabilities_are_chained(void **state)
{
    struct pci_function f = make(&described);
    const uint8_t body[] = {1, 2, 3, 4, 5};
    const uint8_t mask[] = {0, 0xff, 0, 0, 0x0f};
    assert_int_equal(pci_function_add_capability(&f, PCI_CAP_ID_VNDR, body, mask, 5), 0x40);
    assert_int_equal(pci_function_add_capability(&f, PCI_CAP_ID_PM, body, NULL, 2), 0x48);
    assert_int_equal(get(&f, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
    assert_int_equal(get(&f, PCI_CAPABILITY_LIST, 1), 0x40);
    assert_int_equal(get(&f, 0x40, 4), 0x02014809);
    assert_int_equal(get(&f, 0x48, 4), 0x02010001);
    put(&f, 0x42, 4, UINT32_MAX);
    put(&f, 0x46, 4, UINT32_MAX);
    put(&f, 0x4a, 2, UINT32_MAX);
    assert_int_equal(get(&f, 0x42, 4), 0x0403ff01);
    assert_int_equal(get(&f, 0x46, 1), 0x0f);
    assert_int_equal(get(&f, 0x4a, 2), 0x0201);
    pci_function_reset(&f);
    assert_int_equal(get(&f, 0x43, 1), 2);
    pci_function_done(&f);
}

static void capabilities_end_with_the_space(void **state)
{
    struct pci_function f = make(&described);
    uint8_t body[256] = {0};
    assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, 191), -ENOSPC);
    assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, SIZE_MAX), -ENOSPC);
    assert_int_equal(get(&f, PCI_CAPABILITY_LIST, 1), 0);
    for (unsigned at = 0x40; at < 0x100; at += 4)
        assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, at % 3), at);
    assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, 0), -ENOSPC);
    assert_int_equal(get(&f, 0xfc, 2), 9);
    unsigned links = 0;
    for (uint32_t at = get(&f, PCI_CAPABILITY_LIST, 1); at; at = get(&f, at + 1, 1))
        assert_true(++links <= 48);
    assert_int_equal(links, 48);
    pci_function_done(&f);

    f = make(&described);
    assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, 190), 0x40);
    assert_int_equal(pci_function_add_capability(&f, 9, body, NULL, 0), -ENOSPC);
    pci_function_done(&f);
}

static void a_capability_may_be_a_header_alone(void **state)
{
    struct pci_function f = make(&described);
    assert_int_equal(pci_function_add_capability(&f, 9, NULL, NULL, 0), 0x40);
    assert_int_equal(get(&f, 0x40, 4), 9);
    pci_function_done(&f);
}

static void reset_restores_the_defaults(void **state)
{
    struct pci_function f = make(&described);
    uint64_t offset;
    uint8_t fresh[PCI_CONVENTIONAL_CONFIG_LEN];
    memcpy(fresh, f.config, sizeof(fresh));
    for (uint32_t at = 0; at < PCI_CONVENTIONAL_CONFIG_LEN; at += 4)
        put(&f, at, 4, 0x87654321);
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(pci_function_decode(&f, true, 0x87654000, 4, &offset), 0);
    pci_function_reset(&f);
    assert_memory_equal(f.config, fresh, sizeof(fresh));
    assert_int_equal(pci_function_decode(&f, true, 0x87654000, 4, &offset), -ENXIO);
    assert_int_equal(pci_function_decode(&f, true, 0, 4, &offset), -ENXIO);
    assert_false(pci_function_may_master(&f));
    pci_function_done(&f);
}

static void bus_mastering_can_be_hardwired(void **state)
{
    struct ob_device_desc desc = described;
    desc.always_master = true;
    struct pci_function f = make(&desc), other = make(&described);
    uint8_t saved[PCI_CONVENTIONAL_CONFIG_LEN];
    assert_int_equal(get(&f, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
    put(&f, PCI_COMMAND, 2, 0);
    assert_true(pci_function_may_master(&f));
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(get(&f, PCI_COMMAND, 2), PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    pci_function_reset(&f);
    assert_true(pci_function_may_master(&f));
    memcpy(saved, f.config, sizeof(saved));
    assert_int_equal(pci_function_restore(&f, saved), 0);
    saved[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_MASTER;
    assert_int_equal(pci_function_restore(&f, saved), -EINVAL);
    assert_int_equal(pci_function_restore(&other, saved), 0);
    assert_false(pci_function_may_master(&other));
    pci_function_done(&f);
    pci_function_done(&other);
}

static void narrow_bars_have_32_bits(void **state)
{
    struct pci_function f = make(&described);
    uint64_t offset;
    assert_int_equal(pci_function_narrow_bars(&f, NULL), 0);
    assert_int_equal(probe(&f, 2), 0xffff0000 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    assert_int_equal(probe(&f, 3), 0);
    put(&f, PCI_BASE_ADDRESS_2, 4, 0xe0000000);
    put(&f, PCI_BASE_ADDRESS_3, 4, 0xffffffff);
    put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(pci_function_decode(&f, true, 0xe0000010, 4, &offset), 2);
    assert_int_equal(offset, 0x10);
    pci_function_done(&f);

    const struct ob_device_desc huge = {.name = "test",
                                        .bars = {{.kind = OB_BAR_MEM64, .size = 4 * GIB}}};
    struct ob_fault fault = {0};
    f = make(&huge);
    assert_int_equal(pci_function_narrow_bars(&f, &fault), -ENOTSUP);
    assert_non_null(strstr(fault.text, "BAR 0"));
    pci_function_done(&f);
}

static void narrowing_keeps_a_raised_interrupt(void **state)
{
    struct pci_function f = make(&described);
    pci_function_set_interrupt_status(&f, true);
    assert_int_equal(pci_function_narrow_bars(&f, NULL), 0);
    assert_int_equal(get(&f, PCI_STATUS, 2), PCI_STATUS_INTERRUPT);
    pci_function_done(&f);
}

static void no_memory_is_an_error(void **state)
{
    struct pci_function f;
    struct ob_fault fault = {0};
    fail_allocation(1);
    assert_int_equal(pci_function_init(&f, &described, &fault), -ENOMEM);
    assert_true(allocation_failed());
    assert_int_equal(fault.code, -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(header_says_what_was_described),
        TEST(bars_of_every_size_can_be_sized),
        TEST(kinds_show_in_the_low_bits),
        TEST(impossible_bars_are_refused),
        TEST(writes_of_any_width_and_offset_go_by_bytes),
        TEST(errors_in_the_status_are_cleared_by_ones),
        TEST(config_space_ends_where_it_ends),
        TEST(the_command_register_gates_decoding),
        TEST(decoding_stops_at_the_edges_of_a_bar),
        TEST(a_bar_of_four_gib_decodes_whole),
        TEST(capabilities_are_chained),
        TEST(capabilities_end_with_the_space),
        TEST(a_capability_may_be_a_header_alone),
        TEST(reset_restores_the_defaults),
        TEST(bus_mastering_can_be_hardwired),
        TEST(narrow_bars_have_32_bits),
        TEST(narrowing_keeps_a_raised_interrupt),
        TEST(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
