// SPDX-License-Identifier: BSD-3-Clause
/* Regions that come and go one by one; memory_test.c has the set that is replaced as a whole. */
#include "support.h"

#include <errno.h>

#include "fake/server_host.h"
#include "memory/memory.h"

#define PAGE UINT64_C(4096)

struct fixture {
    struct fake_host fake;
    struct memory memory;
    int file;
};

static void set_up(struct fixture *f)
{
    fake_host_init(&f->fake);
    memory_init(&f->memory, f->fake.host.memory);
    f->file = fake_file(&f->fake, 1);
}

static void tear_down(struct fixture *f)
{
    memory_done(&f->memory);
    f->fake.host.close(&f->fake, f->file);
    assert_true(fake_is_empty(&f->fake));
}

static int add(struct fixture *f, uint64_t page, uint64_t pages, int fd)
{
    const struct memory_region_desc desc = {
        .gpa = page * PAGE, .len = pages * PAGE, .fd = fd, .writable = page != 9};
    return memory_add(&f->memory, &desc, 1000, NULL);
}

static int take_away(struct fixture *f, uint64_t page, uint64_t pages)
{
    struct ob_dma_region *region;
    int err = memory_remove(&f->memory, page * PAGE, pages * PAGE, &region);
    if (err == 0)
        memory_drop(&f->memory, region);
    return err;
}

static void regions_never_overlap(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(add(&f, 4, 4, f.file), 0);
    for (uint64_t page = 0; page < 12; page++)
        for (uint64_t pages = 1; pages < 12; pages++)
            if (page < 8 && page + pages > 4)
                assert_int_equal(add(&f, page, pages, -1), -EEXIST);
    assert_int_equal(add(&f, 3, 1, -1), 0);
    assert_int_equal(add(&f, 8, 1, -1), 0);
    assert_int_equal(f.memory.count, 3);
    tear_down(&f);
}

static void a_region_goes_as_it_came(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(add(&f, 4, 4, f.file), 0);
    assert_int_equal(take_away(&f, 4, 3), -ENOENT);
    assert_int_equal(take_away(&f, 5, 3), -ENOENT);
    assert_int_equal(take_away(&f, 3, 5), -ENOENT);
    assert_int_equal(take_away(&f, 20, 1), -ENOENT);
    assert_int_equal(take_away(&f, 4, 4), 0);
    uint8_t byte;
    assert_int_equal(memory_read(&f.memory, 4 * PAGE, &byte, 1), -EFAULT);
    assert_int_equal(f.fake.mappings, 0);
    assert_int_equal(add(&f, 4, 4, f.file), 0);
    tear_down(&f);
}

static uint64_t next(const struct fixture *f, uint64_t gpa)
{
    const struct ob_dma_region *region = memory_next(&f->memory, gpa);
    return region ? region->gpa / PAGE : UINT64_MAX;
}

static void regions_are_walked_in_order(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_true(next(&f, 0) == UINT64_MAX);
    for (uint64_t i = 0; i < 500; i++) /* in another order */
        assert_int_equal(add(&f, 10 + i * 37 % 500 * 3, 2, -1), 0);
    assert_int_equal(next(&f, 0), 10);
    for (uint64_t page = 10; page < 10 + 3 * 499 + 2; page++)
        assert_int_equal(next(&f, page * PAGE + 1), 10 + (page - 10 + 1) / 3 * 3);
    assert_true(next(&f, (10 + 3 * 499 + 2) * PAGE) == UINT64_MAX);
    assert_int_equal(add(&f, UINT64_MAX / PAGE, 1, -1), 0);
    assert_int_equal(next(&f, UINT64_MAX - 1), UINT64_MAX / PAGE);
    assert_int_equal(next(&f, UINT64_MAX), UINT64_MAX / PAGE);
    tear_down(&f);
}

static void a_removed_region_lives_as_long_as_its_spans(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    struct ob_dma_region *region;
    set_up(&f);
    assert_int_equal(add(&f, 4, 4, f.file), 0);
    assert_int_equal(memory_map(&f.memory, 4 * PAGE, 8, true, &span, 1), 1);
    assert_int_equal(memory_remove(&f.memory, 4 * PAGE, 4 * PAGE, &region), MEMORY_HELD);
    assert_true(memory_is_held(region));
    assert_false(region->current);
    memory_unmap(&f.memory, &span, 1);
    assert_false(memory_is_held(region));
    memory_drop(&f.memory, region);
    assert_int_equal(f.fake.mappings, 0);
    tear_down(&f);
}

static void memory_without_a_descriptor_is_known_but_out_of_reach(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    uint8_t bytes[16];
    set_up(&f);
    assert_int_equal(add(&f, 4, 1, f.file), 0);
    assert_int_equal(add(&f, 5, 1, -1), 0);
    assert_int_equal(add(&f, 9, 1, -1), 0);
    assert_int_equal(memory_read(&f.memory, 5 * PAGE, bytes, 16), -EREMOTE);
    assert_int_equal(memory_write(&f.memory, 5 * PAGE - 8, bytes, 16), -EREMOTE);
    assert_int_equal(memory_map(&f.memory, 5 * PAGE - 8, 16, true, &span, 1), -EREMOTE);
    assert_int_equal(memory_write(&f.memory, 6 * PAGE - 8, bytes, 16), -EFAULT);
    assert_int_equal(memory_check(&f.memory, 5 * PAGE - 8, 16, true), 0);
    assert_int_equal(memory_check(&f.memory, 6 * PAGE - 8, 16, true), -EFAULT);
    assert_int_equal(memory_check(&f.memory, 9 * PAGE, 16, false), 0);
    assert_int_equal(memory_check(&f.memory, 9 * PAGE, 16, true), -EACCES);
    assert_int_equal(memory_check(&f.memory, UINT64_MAX - 3, 8, false), -EFAULT);
    tear_down(&f);
}

static void there_are_as_many_as_were_agreed(void **state)
{
    struct fixture f;
    set_up(&f);
    for (uint64_t page = 0; page < 1000; page++)
        assert_int_equal(add(&f, 2 * page, 1, -1), 0);
    assert_int_equal(add(&f, 5000, 1, -1), -ENOSPC);
    assert_int_equal(take_away(&f, 998, 1), 0);
    assert_int_equal(add(&f, 5000, 1, -1), 0);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(regions_never_overlap),
        TEST(a_region_goes_as_it_came),
        TEST(regions_are_walked_in_order),
        TEST(a_removed_region_lives_as_long_as_its_spans),
        TEST(memory_without_a_descriptor_is_known_but_out_of_reach),
        TEST(there_are_as_many_as_were_agreed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
