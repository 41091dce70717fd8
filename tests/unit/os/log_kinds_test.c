// SPDX-License-Identifier: BSD-3-Clause
#include "os/log_kinds.h"

#include "support.h"

#include <stdio.h>
#include <string.h>

static const struct log_rate rate = {.burst = 3, .refill_ns = 100};

static struct log_kind *find(struct log_kinds *kinds, const char *format, uint64_t now_ns)
{
    struct log_kind forgotten;
    struct log_kind *kind = log_kinds_find(kinds, format, rate, now_ns, &forgotten);
    assert_int_equal(forgotten.skipped, 0);
    return kind;
}

static void a_burst_passes_and_then_one_each_refill(void **state)
{
    struct log_kinds kinds = {0};
    unsigned passed = 0;
    for (uint64_t now = 0; now < 1000; now++)
        passed += log_kind_take(find(&kinds, "%s came", now), rate, now, "x came");
    assert_int_equal(passed, rate.burst + 9);
    assert_int_equal(find(&kinds, "%s came", 1000)->skipped, 1000 - passed);
}

static void what_rests_has_its_burst_again(void **state)
{
    struct log_kinds kinds = {0};
    struct log_kind *kind = find(&kinds, "a", 0);
    for (int i = 0; i < 3; i++)
        assert_true(log_kind_take(kind, rate, 0, ""));
    assert_false(log_kind_take(kind, rate, 99, ""));
    for (int i = 0; i < 3; i++)
        assert_true(log_kind_take(kind, rate, UINT64_MAX / 2, ""));
    assert_false(log_kind_take(kind, rate, UINT64_MAX / 2, ""));
}

/* The values in a line make no new kind, and neither does a format that is composed anew. */
static void a_kind_is_its_format(void **state)
{
    struct log_kinds kinds = {0};
    char copy[] = "%s came";
    assert_ptr_equal(find(&kinds, "%s came", 0), find(&kinds, copy, 0));
    assert_ptr_not_equal(find(&kinds, "%s came", 0), find(&kinds, "%s went", 0));
}

static void what_was_skipped_is_told(void **state)
{
    struct log_kinds kinds = {0};
    struct log_kind *kind = find(&kinds, "a", 1000);
    char text[128], line[24];
    assert_true(log_kind_due(kind) == UINT64_MAX);
    for (unsigned i = 0; i < 23993; i++) {
        snprintf(line, sizeof(line), "line %u", i);
        log_kind_take(kind, rate, 1000, line);
    }
    assert_int_equal(log_kind_due(kind), 1100);
    log_kind_summary(kind, text, sizeof(text));
    assert_string_equal(text, "... and 23,990 more like this: line 3");
    assert_true(log_kind_due(kind) == UINT64_MAX);
    log_kind_take(kind, rate, 1000, "last");
    log_kind_summary(kind, text, sizeof(text));
    assert_string_equal(text, "... and 1 more like this: last");
}

/* With more kinds than slots the one that has rested longest goes, and its count with it. */
static void a_slot_that_is_taken_tells_its_count(void **state)
{
    struct log_kinds kinds = {0};
    struct log_kind forgotten;
    char format[16];
    for (unsigned i = 0; i < LIMIT_LOG_KINDS; i++) {
        snprintf(format, sizeof(format), "kind %u", i);
        find(&kinds, format, 1 + i);
    }
    struct log_kind *first = find(&kinds, "kind 0", 1);
    for (int i = 0; i < 5; i++)
        log_kind_take(first, rate, 1, "the first");
    assert_ptr_equal(log_kinds_find(&kinds, "another", rate, 2, &forgotten), first);
    assert_int_equal(forgotten.skipped, 2);
    assert_string_equal(forgotten.sample, "the first");
    assert_int_equal(first->skipped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_burst_passes_and_then_one_each_refill),
        TEST(what_rests_has_its_burst_again),
        TEST(a_kind_is_its_format),
        TEST(what_was_skipped_is_told),
        TEST(a_slot_that_is_taken_tells_its_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
