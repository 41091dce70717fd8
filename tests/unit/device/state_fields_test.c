// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/state.h>

#include <errno.h>
#include <string.h>

#include "support.h"

struct all {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    bool yes, no;
    uint8_t bytes[3];
};

static const struct all example = {.u8 = 0x01,
                                   .u16 = 0x0302,
                                   .u32 = 0x07060504,
                                   .u64 = 0x0f0e0d0c0b0a0908,
                                   .yes = true,
                                   .bytes = {0xa0, 0xa1, 0xa2}};
static const uint8_t golden[] = {1,  2,  3,  4,  5,  6, 7, 8,    9,    10,
                                 11, 12, 13, 14, 15, 1, 0, 0xa0, 0xa1, 0xa2};

static void fields_of(struct ob_state_fields *fields, struct all *all)
{
    ob_state_u8(fields, &all->u8);
    ob_state_u16(fields, &all->u16);
    ob_state_u32(fields, &all->u32);
    ob_state_u64(fields, &all->u64);
    ob_state_bool(fields, &all->yes);
    ob_state_bool(fields, &all->no);
    ob_state_bytes(fields, all->bytes, sizeof(all->bytes));
}

static void test_the_same_list_saves_and_loads(void **state)
{
    struct all all = example, loaded = {0};
    uint8_t bytes[sizeof(golden)];
    struct ob_state_fields fields = ob_state_saved(bytes, sizeof(bytes));
    fields_of(&fields, &all);
    assert_int_equal(ob_state_done(&fields), sizeof(golden));
    assert_memory_equal(bytes, golden, sizeof(golden));
    fields = ob_state_loaded(golden, sizeof(golden));
    fields_of(&fields, &loaded);
    assert_int_equal(ob_state_done(&fields), sizeof(golden));
    assert_int_equal(loaded.u64, example.u64);
    assert_true(loaded.yes && !loaded.no);
    assert_memory_equal(loaded.bytes, example.bytes, sizeof(example.bytes));
}

static void test_too_short_at_every_byte(void **state)
{
    for (size_t len = 0; len < sizeof(golden); len++) {
        struct all all = example;
        uint8_t bytes[sizeof(golden)];
        memset(bytes, 0x55, sizeof(bytes));
        struct ob_state_fields fields = ob_state_saved(bytes, len);
        fields_of(&fields, &all);
        assert_int_equal(ob_state_done(&fields), -ENOSPC);
        assert_int_equal(bytes[len], 0x55);
        fields = ob_state_loaded(golden, len);
        fields_of(&fields, &all);
        assert_int_equal(ob_state_done(&fields), -EINVAL);
        assert_int_equal(all.bytes[2], 0);
    }
}

static void test_what_is_left_over(void **state)
{
    struct all all = {0};
    uint8_t bytes[sizeof(golden) + 1] = {0};
    memcpy(bytes, golden, sizeof(golden));
    struct ob_state_fields fields = ob_state_loaded(bytes, sizeof(bytes));
    fields_of(&fields, &all);
    assert_int_equal(ob_state_done(&fields), -EINVAL);
}

static void test_truth_is_one_or_zero(void **state)
{
    for (unsigned value = 2; value < 256; value++) {
        bool truth = true;
        const uint8_t byte = (uint8_t)value;
        struct ob_state_fields fields = ob_state_loaded(&byte, 1);
        ob_state_bool(&fields, &truth);
        assert_int_equal(ob_state_done(&fields), -EINVAL);
        assert_false(truth);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_list_saves_and_loads),
        TEST(test_too_short_at_every_byte),
        TEST(test_what_is_left_over),
        TEST(test_truth_is_one_or_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
