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

/* The numbers of the pages that a report of up to 128 names. */
static unsigned reported(struct dirty_log *log, uint64_t start, uint64_t pages)
{
    uint8_t bits[16] = {0};
    unsigned count = 0;
    assert_true(dirty_report_len(log, PAGE, start, pages * PAGE) <= (int64_t)sizeof(bits));
    dirty_report(log, start, pages * PAGE, bits);
    for (unsigned i = 0; i < 128; i++)
        count += bits[i / 8] >> i % 8 & 1;
    return count;
}

static void no_range_means_all_memory(void **state)
{
    const uint64_t block = LIMIT_DIRTY_BLOCK_PAGES * PAGE, far = UINT64_C(1) << 60;
    struct dirty_log log = {0};
    uint8_t bits[8];
    assert_int_equal(dirty_start(&log, PAGE, NULL, 0), 0);
    assert_int_equal(dirty_start(&log, PAGE, NULL, 0), -EBUSY);
    assert_int_equal(reported(&log, 0, 128), 0);
    dirty_mark(&log, block - PAGE - 1, 2 * PAGE); /* 3 pages, over the border of a block */
    dirty_mark(&log, far, 5);                     /* wherever it is */
    dirty_mark(&log, UINT64_MAX, 1);              /* to the very end */
    dirty_mark(&log, 0, 0);                       /* nothing */
    dirty_report(&log, block - 4 * PAGE, 8 * PAGE, bits);
    assert_memory_equal(bits, "\x1c\0\0\0\0\0\0\0", 8);
    assert_int_equal(reported(&log, block - 4 * PAGE, 8), 0);
    assert_int_equal(reported(&log, far - 2 * PAGE, 100), 1);
    assert_int_equal(reported(&log, UINT64_MAX - PAGE + 1, 1), 1);
    assert_int_equal(dirty_report_len(&log, PAGE, UINT64_MAX - PAGE + 1, 2 * PAGE), -EINVAL);
    assert_int_equal(dirty_report_len(&log, 2 * PAGE, 0, 2 * PAGE), -EINVAL);
    dirty_stop(&log);
    dirty_mark(&log, 0, PAGE);
    assert_int_equal(dirty_start(&log, PAGE, NULL, 0), 0);
    assert_int_equal(reported(&log, 0, 1), 0);
    dirty_stop(&log);
}

static void a_log_that_lost_its_track_tells_of_everything(void **state)
{
    struct dirty_log log = {0};
    for (unsigned nth = 1; nth <= 2; nth++) { /* the block, its node */
        assert_int_equal(dirty_start(&log, PAGE, NULL, 0), 0);
        fail_allocation(nth);
        dirty_mark(&log, 0, 1);
        assert_true(allocation_failed());
        assert_int_equal(reported(&log, 64 * PAGE, 64), 64);
        assert_int_equal(reported(&log, 64 * PAGE, 64), 64);
        dirty_stop(&log);
    }
    assert_int_equal(dirty_start(&log, PAGE, NULL, 0), 0);
    dirty_mark(&log, PAGE, (uint64_t)LIMIT_DIRTY_PAGES * PAGE - PAGE);
    assert_int_equal(reported(&log, 0, 64), 63);
    dirty_mark(&log, (uint64_t)LIMIT_DIRTY_PAGES * PAGE, 1); /* one more than are kept */
    assert_int_equal(reported(&log, UINT64_C(1) << 60, 64), 64);
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
        TEST(no_range_means_all_memory),
        TEST(a_log_that_lost_its_track_tells_of_everything),
        TEST(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
