// SPDX-License-Identifier: BSD-3-Clause
/* Vectors: RFC 3720, appendix B.4. */
#include "base/crc32c.h"

#include "support.h"

#include <string.h>

static void sums_official_vectors(void **state)
{
    uint8_t bytes[32];
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
}

static void table_and_instruction_agree(void **state)
{
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof(bytes); len++)
        assert_int_equal(crc32c(5, bytes, len), crc32c_by_table(5, bytes, len));
}

static void continues_over_pieces(void **state)
{
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sums_official_vectors),
        TEST(table_and_instruction_agree),
        TEST(continues_over_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
