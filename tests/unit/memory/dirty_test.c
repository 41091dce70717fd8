// SPDX-License-Identifier: BSD-3-Clause
#include "memory/dirty.h"

#include "support.h"

#include <errno.h>

#include "failing_alloc.h"

#define PAGE UINT64_C(4096)

static void a_write_marks_each_page_that_it_touches(void **state)
{
    const struct dirty_range ranges[] = {{8 * PAGE, 70 * PAGE, NULL}, {100 * PAGE, PAGE, NULL}};
    struct dirty_log log = {0};
    uint8_t bits[16];
    dirty_mark(&log, 0, UINT64_MAX); /* nothing is logged yet */
    assert_int_equal(dirty_start(&log, PAGE, ranges, 2), 0);
    dirty_mark(&log, 0, 8 * PAGE);                 /* before */
    dirty_mark(&log, 10 * PAGE + 4095, 2);         /* over a border */
    dirty_mark(&log, 77 * PAGE, 24 * PAGE);        /* over the end, into the other range */
    dirty_mark(&log, 12 * PAGE, 0);                /* nothing */
    dirty_mark(&log, UINT64_MAX - PAGE + 1, PAGE); /* far behind */
    assert_int_equal(dirty_report_len(&log, PAGE, 8 * PAGE, 70 * PAGE), 16);
    dirty_report(&log, 8 * PAGE, 70 * PAGE, bits);
    assert_memory_equal(bits, "\x0c\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0", 16);
    dirty_report(&log, 8 * PAGE, 70 * PAGE, bits);
    assert_memory_equal(bits, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    dirty_report(&log, 100 * PAGE, PAGE, bits);
    assert_int_equal(bits[0], 1);
    dirty_stop(&log);
    assert_int_equal(dirty_report_len(&log, PAGE, 8 * PAGE, PAGE), -EINVAL);
}

static void a_report_about_a_part_leaves_the_rest(void **state)
{
    const struct dirty_range range = {0, 64 * PAGE, NULL};
    struct dirty_log log = {0};
    uint8_t bits[8];
    assert_int_equal(dirty_start(&log, PAGE, &range, 1), 0);
    dirty_mark(&log, 0, 64 * PAGE);
    dirty_report(&log, 3 * PAGE, 2 * PAGE, bits);
    assert_memory_equal(bits, "\3\0\0\0\0\0\0\0", 8);
    dirty_report(&log, 0, 64 * PAGE, bits);
    assert_memory_equal(bits, "\xe7\xff\xff\xff\xff\xff\xff\xff", 8);
    dirty_stop(&log);
}

static void no_memory_is_an_error(void **state)
{
    const struct dirty_range ranges[] = {{0, PAGE, NULL}, {PAGE, PAGE, NULL}};
    struct dirty_log log = {0};
    for (unsigned nth = 1; nth <= 2; nth++) {
        fail_allocation(nth);
        assert_int_equal(dirty_start(&log, PAGE, ranges, 2), -ENOMEM);
        assert_true(allocation_failed());
        assert_int_equal(log.page, 0);
    }
    assert_int_equal(dirty_start(&log, PAGE, ranges, 2), 0);
    dirty_stop(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_marks_each_page_that_it_touches),
        TEST(a_report_about_a_part_leaves_the_rest),
        TEST(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
