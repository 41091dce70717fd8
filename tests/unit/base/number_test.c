// SPDX-License-Identifier: BSD-3-Clause
#include "base/number.h"

#include "support.h"

#include <errno.h>

static void reads_whole_numbers(void **state)
{
    uint64_t number;
    assert_int_equal(number_parse("0", 10, 0, &number), 0);
    assert_true(number == 0);
    assert_int_equal(number_parse("18446744073709551615", 10, UINT64_MAX, &number), 0);
    assert_true(number == UINT64_MAX);
    assert_int_equal(number_parse("0x1F", 0, 31, &number), 0);
    assert_true(number == 31);
}

static void refuses_all_else(void **state)
{
    static const char *const texts[] = {"",   " 1",   "+1",  "-1", "1 ",
                                        "1k", "0x1f", "101", "x",  "18446744073709551616"};
    uint64_t number = 7;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(number_parse(texts[i], 10, 100, &number), -EINVAL);
    assert_int_equal(number_parse("18446744073709551616", 10, UINT64_MAX, &number), -EINVAL);
    assert_true(number == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_whole_numbers),
        TEST(refuses_all_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
