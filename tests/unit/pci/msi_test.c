// SPDX-License-Identifier: BSD-3-Clause
#include "pci/msi.h"

#include "support.h"

#include <errno.h>
#include <linux/pci_regs.h>

static int make(struct msi *msi, struct pci_function *function, unsigned vectors)
{
    const struct ob_device_desc desc = {.name = "test", .msi_vectors = (uint8_t)vectors};
    assert_int_equal(pci_function_init(function, &desc, NULL), 0);
    return msi_init(msi, function, &desc, NULL);
}

static void the_capability_is_golden(void **state)
{
    static const uint8_t golden[24] = {0x05, 0, 0x86, 0x01}; /* 8 vectors, 64 bits, masks */
    static const uint8_t writable[24] = {0,    0,    0x71, 0,    0xfc, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,    0,
                                         0xff, 0,    0,    0,    0,    0,    0,    0};
    struct msi msi;
    struct pci_function function;
    assert_int_equal(make(&msi, &function, 8), 0);
    assert_memory_equal(&function.config[msi.capability], golden, sizeof(golden));
    assert_memory_equal(&function.writable[msi.capability], writable, sizeof(writable));
    pci_function_done(&function);
}

static void vectors_are_a_power_of_two_up_to_32(void **state)
{
    for (unsigned vectors = 0; vectors < 256; vectors++) {
        struct msi msi;
        struct pci_function function;
        bool right = vectors <= 32 && (vectors & (vectors - 1)) == 0;
        assert_int_equal(make(&msi, &function, vectors), right ? 0 : -EINVAL);
        pci_function_done(&function);
    }
}

static void the_guest_grants_no_more_than_there_are(void **state)
{
    struct msi msi;
    struct pci_function function;
    assert_int_equal(make(&msi, &function, 4), 0);
    assert_false(msi_is_enabled(&msi, &function));
    for (unsigned power = 0; power < 8; power++) {
        pci_config_write(&function, msi.capability + 2u, 1, PCI_MSI_FLAGS_ENABLE | power << 4);
        assert_true(msi_is_enabled(&msi, &function));
        assert_int_equal(msi_granted(&msi, &function), power < 2 ? 1u << power : 4);
    }
    pci_function_done(&function);
}

static void masks_are_the_guests_and_pending_bits_ours(void **state)
{
    struct msi msi;
    struct pci_function function;
    assert_int_equal(make(&msi, &function, 32), 0);
    for (unsigned vector = 0; vector < 32; vector++) {
        pci_config_write(&function, msi.capability + 16u, 4, 1u << vector);
        pci_config_write(&function, msi.capability + 20u, 4, UINT32_MAX);
        msi_set_pending(&msi, &function, vector, true);
        for (unsigned other = 0; other < 32; other++) {
            assert_int_equal(msi_is_masked(&msi, &function, other), other == vector);
            assert_int_equal(msi_is_pending(&msi, &function, other), other == vector);
        }
        msi_set_pending(&msi, &function, vector, false);
    }
    pci_function_done(&function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_capability_is_golden),
        TEST(vectors_are_a_power_of_two_up_to_32),
        TEST(the_guest_grants_no_more_than_there_are),
        TEST(masks_are_the_guests_and_pending_bits_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
