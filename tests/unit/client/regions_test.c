// SPDX-License-Identifier: BSD-3-Clause
#include "support.h"

#include <errno.h>

#include "client/regions.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void regions_that_touch_become_one(void **state)
{
    struct ob_client_region regions[] = {
        {.gpa = 0x3000, .len = 0x1000, .offset = 0x3000, .fd = 3},
        {.gpa = 0x1000, .len = 0x2000, .offset = 0x1000, .fd = 3},
        {.gpa = 0x4000, .len = 0x1000, .offset = 0x4000, .fd = 3},
    };
    assert_int_equal(regions_merge(regions, COUNT(regions), NULL), 1);
    assert_int_equal(regions[0].gpa, 0x1000);
    assert_int_equal(regions[0].len, 0x4000);
    assert_int_equal(regions[0].offset, 0x1000);
}

static void regions_that_touch_only_in_the_guest_stay(void **state)
{
    struct ob_client_region apart_in_file[] = {
        {.gpa = 0x1000, .len = 0x1000, .offset = 0, .fd = 3},
        {.gpa = 0x2000, .len = 0x1000, .offset = 0x8000, .fd = 3},
    };
    struct ob_client_region in_two_files[] = {
        {.gpa = 0x1000, .len = 0x1000, .offset = 0, .fd = 3},
        {.gpa = 0x2000, .len = 0x1000, .offset = 0x1000, .fd = 4},
    };
    assert_int_equal(regions_merge(apart_in_file, 2, NULL), 2);
    assert_int_equal(regions_merge(in_two_files, 2, NULL), 2);
}

static void regions_that_touch_only_in_the_file_stay(void **state)
{
    struct ob_client_region regions[] = {
        {.gpa = 0, .len = 0x80000000, .offset = 0, .fd = 3},
        {.gpa = 0x100000000, .len = 0x1000, .offset = 0x80000000, .fd = 3},
    };
    assert_int_equal(regions_merge(regions, 2, NULL), 2);
}

static void no_regions_are_none(void **state)
{
    assert_int_equal(regions_merge(NULL, 0, NULL), 0);
}

static void impossible_regions_are_refused(void **state)
{
    const struct ob_client_region impossible[] = {
        {.gpa = 0x1000, .len = 0},
        {.gpa = 0x1001, .len = 0x1000},
        {.gpa = 0x1000, .len = 0x1001},
        {.gpa = 0x1000, .len = 0x1000, .offset = 0x10},
        {.gpa = UINT64_MAX - 0xfff, .len = 0x2000},
        {.gpa = 0, .len = 0x2000, .offset = UINT64_MAX - 0xfff},
    };
    for (size_t i = 0; i < COUNT(impossible); i++) {
        struct ob_client_region region = impossible[i];
        struct ob_fault fault = {0};
        assert_int_equal(regions_merge(&region, 1, &fault), -EINVAL);
        assert_int_equal(fault.code, -EINVAL);
    }
}

static void the_last_page_of_all_is_possible(void **state)
{
    struct ob_client_region region = {.gpa = UINT64_MAX - 0xfff, .len = 0x1000};
    assert_int_equal(regions_merge(&region, 1, NULL), 1);
}

static void regions_that_overlap_are_refused(void **state)
{
    struct ob_client_region regions[] = {
        {.gpa = 0x3000, .len = 0x1000},
        {.gpa = 0x1000, .len = 0x3000},
    };
    struct ob_fault fault = {0};
    assert_int_equal(regions_merge(regions, 2, &fault), -EINVAL);
    assert_string_equal(fault.text, "the memory region at 0x3000 overlaps the one at 0x1000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(regions_that_touch_become_one),
        TEST(regions_that_touch_only_in_the_guest_stay),
        TEST(regions_that_touch_only_in_the_file_stay),
        TEST(no_regions_are_none),
        TEST(impossible_regions_are_refused),
        TEST(the_last_page_of_all_is_possible),
        TEST(regions_that_overlap_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
