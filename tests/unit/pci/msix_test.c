// SPDX-License-Identifier: BSD-3-Clause
#include "pci/msix.h"

#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "failing_alloc.h"

static struct ob_device_desc describe(unsigned vectors, unsigned bar, uint32_t offset)
{
    return (struct ob_device_desc){
        .name = "test",
        .bars = {{.kind = OB_BAR_MEM32, .size = 0x10000},
                 {.kind = OB_BAR_IO, .size = 256},
                 {.kind = OB_BAR_MEM32,
                  .size = 0x10000,
                  .flags = OB_BAR_MEMORY,
                  .memory = {.offset = 0x1000, .len = 0x1000}}},
        .msix_vectors = (uint16_t)vectors,
        .msix_bar = (uint8_t)bar,
        .msix_offset = offset,
    };
}

static int make(struct msix *msix, struct pci_function *function, struct ob_device_desc desc,
                struct ob_fault *fault)
{
    assert_int_equal(pci_function_init(function, &desc, NULL), 0);
    return msix_init(msix, function, &desc, fault);
}

static void done(struct msix *msix, struct pci_function *function)
{
    msix_done(msix);
    pci_function_done(function);
}

static void the_capability_is_golden(void **state)
{
    /* id, next, control: 65 vectors; table at 0x2000 of BAR 2; pending bits behind it. */
    static const uint8_t golden[] = {0x11, 0, 64, 0, 2, 0x20, 0, 0, 0x12, 0x24, 0, 0};
    struct msix msix;
    struct pci_function function;
    assert_int_equal(make(&msix, &function, describe(65, 2, 0x2000), NULL), 0);
    assert_memory_equal(&function.config[msix.capability], golden, sizeof(golden));
    assert_int_equal(msix.len, 65 * 16 + 16);
    assert_false(msix_is_enabled(&msix, &function));
    pci_config_write(&function, msix.capability + 2u, 2, 0xffff);
    assert_int_equal(function.config[msix.capability + 3], 0xc0);
    assert_int_equal(function.config[msix.capability + 2], 64);
    assert_true(msix_is_enabled(&msix, &function));
    pci_function_reset(&function);
    assert_false(msix_is_enabled(&msix, &function));
    done(&msix, &function);
}

static void impossible_descriptions_are_refused(void **state)
{
    const struct ob_device_desc descs[] = {
        describe(2049, 0, 0),      /* too many */
        describe(1, 6, 0),         /* no BAR */
        describe(1, 3, 0),         /* not implemented */
        describe(1, 1, 0),         /* port space */
        describe(1, 0, 4),         /* not aligned */
        describe(1, 0, 0x10000),   /* behind the BAR */
        describe(1, 0, 0xfff0),    /* its pending bits are */
        describe(2048, 0, 0x8000), /* does not fit */
        describe(1, 2, 0x1ff8),    /* in the BAR's memory */
        describe(257, 2, 0),       /* reaches into it */
    };
    for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++) {
        struct msix msix;
        struct pci_function function;
        struct ob_fault fault = {0};
        assert_int_equal(make(&msix, &function, descs[i], &fault), -EINVAL);
        assert_int_equal(fault.code, -EINVAL);
        done(&msix, &function);
    }
}

static void accesses_of_any_width_see_the_same_bytes(void **state)
{
    struct msix msix;
    struct pci_function function;
    assert_int_equal(make(&msix, &function, describe(3, 0, 0x100), NULL), 0);
    assert_false(msix_covers(&msix, 0, 0xff, 2));
    assert_false(msix_covers(&msix, 2, 0x100, 1));
    assert_true(msix_covers(&msix, 0, 0x100, 8));
    assert_true(msix_covers(&msix, 0, 0x100 + 48 + 7, 1));
    assert_false(msix_covers(&msix, 0, 0x100 + 48 + 7, 2));
    assert_int_equal(msix_read(&msix, 0x100 + 12, 4), 1);
    msix_write(&msix, 0x100 + 16, 8, 0x8877665544332211);
    assert_int_equal(msix_read(&msix, 0x100 + 19, 2), 0x5544);
    msix_write(&msix, 0x100 + 44, 8, UINT64_MAX); /* half of it are pending bits */
    assert_int_equal(msix_read(&msix, 0x100 + 44, 8), UINT32_MAX);
    msix_reset(&msix);
    assert_int_equal(msix_read(&msix, 0x100 + 44, 4), 1);
    assert_int_equal(msix_read(&msix, 0x100 + 16, 8), 0);
    done(&msix, &function);
}

static void pending_bits_are_one_each(void **state)
{
    struct msix msix;
    struct pci_function function;
    assert_int_equal(make(&msix, &function, describe(70, 0, 0), NULL), 0);
    msix_set_pending(&msix, 0, true);
    msix_set_pending(&msix, 69, true);
    assert_true(msix_read(&msix, msix.table_len, 8) == 1);
    assert_true(msix_read(&msix, msix.table_len + 8, 8) == 1 << 5);
    assert_true(msix_is_pending(&msix, 69));
    assert_false(msix_is_pending(&msix, 68));
    msix_set_pending(&msix, 69, false);
    assert_false(msix_is_pending(&msix, 69));
    assert_true(msix_is_pending(&msix, 0));
    done(&msix, &function);
}

static void a_hidden_capability_leaves_the_others(void **state)
{
    static const uint8_t body[2] = {0xaa, 0xbb};
    struct msix msix;
    struct pci_function function;
    struct ob_device_desc desc = describe(1, 0, 0);
    assert_int_equal(pci_function_init(&function, &desc, NULL), 0);
    int first = pci_function_add_capability(&function, 9, body, NULL, 2);
    assert_int_equal(msix_init(&msix, &function, &desc, NULL), 0);
    int last = pci_function_add_capability(&function, 10, body, NULL, 2);
    pci_config_write(&function, PCI_INTERRUPT_LINE, 1, 0x55);
    pci_function_hide_capability(&function, PCI_CAP_ID_MSIX);
    pci_function_hide_capability(&function, PCI_CAP_ID_MSIX);
    assert_int_equal(function.config[PCI_CAPABILITY_LIST], first);
    assert_int_equal(function.config[first + 1], last);
    assert_int_equal(function.config[last + 1], 0);
    assert_int_equal(function.config[PCI_INTERRUPT_LINE], 0x55);
    pci_function_hide_capability(&function, 9);
    pci_function_hide_capability(&function, 10);
    assert_int_equal(function.config[PCI_CAPABILITY_LIST], 0);
    assert_int_equal(function.config[PCI_STATUS] & PCI_STATUS_CAP_LIST, 0);
    pci_function_reset(&function);
    assert_int_equal(function.config[PCI_CAPABILITY_LIST], 0);
    done(&msix, &function);
}

static void no_memory_is_an_error(void **state)
{
    struct msix msix;
    struct pci_function function;
    struct ob_device_desc desc = describe(8, 0, 0);
    assert_int_equal(pci_function_init(&function, &desc, NULL), 0);
    fail_allocation(1);
    assert_int_equal(msix_init(&msix, &function, &desc, NULL), -ENOMEM);
    assert_true(allocation_failed());
    done(&msix, &function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_capability_is_golden),
        TEST(impossible_descriptions_are_refused),
        TEST(accesses_of_any_width_see_the_same_bytes),
        TEST(pending_bits_are_one_each),
        TEST(a_hidden_capability_leaves_the_others),
        TEST(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
