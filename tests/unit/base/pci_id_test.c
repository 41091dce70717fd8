// SPDX-License-Identifier: BSD-3-Clause
#include "base/pci_id.h"

#include "support.h"

#include <errno.h>

static void ids_are_read(void **state)
{
    static const struct {
        const char *text;
        uint16_t vendor_id, device_id;
    } good[] = {
        {"1af4:10f0", 0x1af4, 0x10f0},
        {"1AF4:10Ff", 0x1af4, 0x10ff},
        {"0:0", 0, 0},
        {"8:ffff", 8, 0xffff},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint16_t vendor_id = 1, device_id = 1;
        assert_int_equal(pci_id_parse(good[i].text, &vendor_id, &device_id), 0);
        assert_int_equal(vendor_id, good[i].vendor_id);
        assert_int_equal(device_id, good[i].device_id);
    }
}

static void anything_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",           ":",           "1af4",       "1af4:",      ":10f0",      "1af4:10f0 ",
        " 1af4:10f0", "1af4:10f0:1", "01af4:10f0", "1af4:010f0", "0x1af4:0x1", "1af4-10f0",
        "1ag4:10f0",  "1af4:10g0",   "ffff:10f0",  "-1:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint16_t vendor_id = 1, device_id = 2;
        assert_int_equal(pci_id_parse(bad[i], &vendor_id, &device_id), -EINVAL);
        assert_int_equal(vendor_id, 1);
        assert_int_equal(device_id, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ids_are_read),
        TEST(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
