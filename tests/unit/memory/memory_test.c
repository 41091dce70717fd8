// SPDX-License-Identifier: BSD-3-Clause
#include "memory/memory.h"

#include "base/limits.h"
#include "failing_alloc.h"
#include "fake/server_host.h"
#include "support.h"

#include <errno.h>
#include <string.h>

#define PAGE ((uint64_t)MEMORY_PAGE)

/* A guest memory in a world of two files, 7 and 8. */
struct fixture {
    struct fake_host fake;
    struct memory memory;
    int seven, eight;
};

static void set_up(struct fixture *fixture)
{
    fake_host_init(&fixture->fake);
    memory_init(&fixture->memory, fixture->fake.host.memory);
    fixture->seven = fake_file(&fixture->fake, 7);
    fixture->eight = fake_file(&fixture->fake, 8);
}

static void tear_down(struct fixture *fixture)
{
    memory_done(&fixture->memory);
    assert_int_equal(fixture->fake.mappings, 0);
}

static struct memory_region_desc region(uint64_t gpa, uint64_t len, uint64_t offset, int fd)
{
    return (struct memory_region_desc){
        .gpa = gpa, .len = len, .offset = offset, .fd = fd, .writable = true};
}

static int replace(struct fixture *fixture, const struct memory_region_desc *descs, unsigned count)
{
    return memory_replace(&fixture->memory, descs, count, NULL);
}

static void starts_empty(void **state)
{
    struct fixture f;
    set_up(&f);
    uint8_t byte;
    assert_int_equal(memory_read(&f.memory, 0, &byte, 1), -EFAULT);
    assert_int_equal(memory_write(&f.memory, 0, &byte, 1), -EFAULT);
    assert_int_equal(memory_read(&f.memory, 0, &byte, 0), 0);
    tear_down(&f);
}

static void memory_that_is_never_mapped_is_there_all_the_same(void **state)
{
    struct fixture f;
    set_up(&f);
    memory_never_map(&f.memory);
    const struct memory_region_desc one = region(0, PAGE, 0, f.seven);
    const struct memory_region_desc other = region(PAGE, PAGE, 0, f.eight);
    uint8_t byte = 0;
    struct ob_dma_span span;
    for (unsigned way = 0; way < 2; way++) { /* how mpqemu and how vfio-user tell of memory */
        assert_int_equal(way == 0 ? replace(&f, &one, 1) : memory_add(&f.memory, &other, 2, NULL),
                         0);
        uint64_t gpa = way * PAGE;
        assert_int_equal(f.fake.mappings, 0);
        assert_int_equal(memory_check(&f.memory, gpa, PAGE, true), 0);
        assert_int_equal(memory_read(&f.memory, gpa, &byte, 1), -EREMOTE);
        assert_int_equal(memory_write(&f.memory, gpa, &byte, 1), -EREMOTE);
        assert_int_equal(memory_map(&f.memory, gpa, 1, false, &span, 1), -EREMOTE);
    }
    tear_down(&f);
}

static void reads_what_the_file_holds(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc descs[] = {
        region(0x100000, 2 * PAGE, PAGE, f.seven),
        region(0, PAGE, 0, f.eight),
    };
    assert_int_equal(replace(&f, descs, 2), 0);
    assert_int_equal(f.memory.count, 2);
    uint8_t bytes[3];
    assert_int_equal(memory_read(&f.memory, 0x100000 + PAGE - 1, bytes, 3), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(bytes[i], fake_file_byte(7, 2 * PAGE - 1 + i));
    assert_int_equal(memory_read(&f.memory, PAGE - 1, bytes, 1), 0);
    assert_int_equal(bytes[0], fake_file_byte(8, PAGE - 1));
    assert_int_equal(memory_read(&f.memory, PAGE - 1, bytes, 2), -EFAULT);
    tear_down(&f);
}

static void crosses_regions_that_touch(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc descs[] = {
        region(2 * PAGE, PAGE, 0, f.eight),
        region(PAGE, PAGE, 0, f.seven),
        region(3 * PAGE, PAGE, 3 * PAGE, f.seven),
    };
    assert_int_equal(replace(&f, descs, 3), 0);
    uint8_t out[PAGE + 6], in[sizeof(out)];
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7);
    assert_int_equal(memory_write(&f.memory, 2 * PAGE - 3, out, sizeof(out)), 0);
    assert_int_equal(memory_read(&f.memory, 2 * PAGE - 3, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(out));

    struct ob_dma_span spans[3];
    assert_int_equal(memory_map(&f.memory, 2 * PAGE - 3, sizeof(out), true, spans, 2), -E2BIG);
    assert_int_equal(memory_map(&f.memory, 2 * PAGE - 3, sizeof(out), true, spans, 3), 3);
    assert_int_equal(spans[0].len, 3);
    assert_int_equal(spans[1].len, PAGE);
    assert_int_equal(spans[2].len, 3);
    assert_memory_equal(spans[1].address, out + 3, PAGE);
    memory_unmap(&f.memory, spans, 3);
    assert_null(spans[0].address);
    tear_down(&f);
}

static void a_hole_stops_a_copy_before_it_starts(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc descs[] = {
        region(0, PAGE, 0, f.seven),
        region(2 * PAGE, PAGE, 0, f.eight),
    };
    assert_int_equal(replace(&f, descs, 2), 0);
    uint8_t before[4], after[4];
    struct ob_dma_span spans[4];
    assert_int_equal(memory_read(&f.memory, PAGE - 4, before, 4), 0);
    assert_int_equal(memory_write(&f.memory, PAGE - 4, "12345", 5), -EFAULT);
    assert_int_equal(memory_read(&f.memory, PAGE - 4, after, 4), 0);
    assert_memory_equal(after, before, 4);
    assert_int_equal(memory_map(&f.memory, PAGE - 4, 5, false, spans, 4), -EFAULT);
    assert_int_equal(memory_map(&f.memory, PAGE, 1, false, spans, 4), -EFAULT);
    assert_int_equal(memory_map(&f.memory, 3 * PAGE, 1, false, spans, 4), -EFAULT);
    tear_down(&f);
}

static void read_only_memory_refuses_writes_alone(void **state)
{
    struct fixture f;
    set_up(&f);
    struct memory_region_desc descs[] = {
        region(0, PAGE, 0, f.seven),
        region(PAGE, PAGE, 0, f.eight),
    };
    descs[1].writable = false;
    assert_int_equal(replace(&f, descs, 2), 0);
    uint8_t bytes[2];
    struct ob_dma_span spans[2];
    assert_int_equal(memory_write(&f.memory, PAGE - 1, "12", 2), -EACCES);
    assert_int_equal(memory_read(&f.memory, PAGE - 1, bytes, 2), 0);
    assert_int_equal(bytes[0], fake_file_byte(7, PAGE - 1));
    assert_int_equal(memory_map(&f.memory, PAGE - 1, 2, true, spans, 2), -EACCES);
    assert_int_equal(memory_map(&f.memory, PAGE - 1, 2, false, spans, 2), 2);
    memory_unmap(&f.memory, spans, 2);
    tear_down(&f);
}

/* What a peer may not say of a region, each behind a good region that must not stay. */
static void a_bad_region_leaves_the_old_table(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc good = region(0x40000, PAGE, 0, f.seven);
    const struct {
        struct memory_region_desc desc;
        int err;
    } bad[] = {
        {region(0, 0, 0, f.eight), -EINVAL},                       /* empty */
        {region(1, PAGE, 0, f.eight), -EINVAL},                    /* not aligned */
        {region(0, PAGE + 1, 0, f.eight), -EINVAL},                /* not aligned */
        {region(0, PAGE, 8, f.eight), -EINVAL},                    /* not aligned */
        {region(-PAGE, 2 * PAGE, 0, f.eight), -EINVAL},            /* wraps */
        {region(0, PAGE, -PAGE, f.eight), -EINVAL},                /* wraps in the file */
        {region(0x40000, PAGE, 0, f.eight), -EINVAL},              /* overlaps */
        {region(0x3f000, 3 * PAGE, 0, f.eight), -EINVAL},          /* overlaps */
        {region(0, FAKE_FILE_LEN + PAGE, 0, f.eight), -EOVERFLOW}, /* beyond its file */
        {region(0, PAGE, FAKE_FILE_LEN, f.eight), -EOVERFLOW},     /* beyond its file */
        {region(0, -PAGE, 0, f.eight), -EINVAL},                   /* overlaps */
        {region(0x80000, PAGE, 0, fake_event(&f.fake)), -EINVAL},  /* no file */
    };
    assert_int_equal(replace(&f, &good, 1), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct memory_region_desc descs[] = {good, region(0x90000, PAGE, 0, f.eight),
                                                   bad[i].desc};
        struct ob_fault fault = {0};
        assert_int_equal(memory_replace(&f.memory, descs, 3, &fault), bad[i].err);
        assert_int_equal(fault.code, bad[i].err);
        assert_non_null(strstr(fault.text, "region 2"));
        uint8_t byte;
        assert_int_equal(f.memory.count, 1);
        assert_int_equal(f.fake.mappings, 1);
        assert_int_equal(memory_read(&f.memory, 0x40000, &byte, 1), 0);
        assert_int_equal(memory_read(&f.memory, 0x90000, &byte, 1), -EFAULT);
    }
    tear_down(&f);
}

static void memory_may_end_with_the_address_space(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc last = region(-PAGE, PAGE, 0, f.seven);
    uint8_t bytes[2];
    struct ob_dma_span span;
    assert_int_equal(replace(&f, &last, 1), 0);
    assert_int_equal(memory_read(&f.memory, UINT64_MAX - 1, bytes, 2), 0);
    assert_int_equal(memory_read(&f.memory, UINT64_MAX, bytes, 2), -EFAULT);
    assert_int_equal(memory_write(&f.memory, UINT64_MAX, bytes, 2), -EFAULT);
    assert_int_equal(memory_map(&f.memory, UINT64_MAX, 2, false, &span, 1), -EFAULT);
    assert_int_equal(memory_map(&f.memory, UINT64_MAX, 1, false, &span, 1), 1);
    memory_unmap(&f.memory, &span, 1);
    tear_down(&f);
}

static void a_span_outlives_its_region(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc first = region(0, PAGE, 0, f.seven);
    const struct memory_region_desc second = region(0, PAGE, 0, f.eight);
    struct ob_dma_span span;
    uint8_t byte;
    assert_int_equal(replace(&f, &first, 1), 0);
    assert_int_equal(memory_map(&f.memory, 8, 8, true, &span, 1), 1);
    assert_true(span.region->current);
    assert_int_equal(replace(&f, &second, 1), MEMORY_HELD);
    assert_false(span.region->current);
    assert_int_equal(f.fake.mappings, 2);
    assert_int_equal(*(uint8_t *)span.address, fake_file_byte(7, 8));
    assert_int_equal(memory_read(&f.memory, 8, &byte, 1), 0);
    assert_int_equal(byte, fake_file_byte(8, 8));
    assert_int_equal(replace(&f, NULL, 0), 0);
    memset(span.address, 0, span.len);
    assert_int_equal(f.fake.mappings, 1);
    memory_unmap(&f.memory, &span, 1);
    assert_int_equal(f.fake.mappings, 0);
    tear_down(&f);
}

static void the_same_memory_named_again_stays_current(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc once = region(PAGE, PAGE, 0, f.seven);
    const struct memory_region_desc again[] = {
        region(8 * PAGE, PAGE, 0, f.eight),
        region(PAGE, PAGE, 0, fake_file(&f.fake, 7)), /* another descriptor of the same file */
    };
    const struct memory_region_desc shifted = region(PAGE, PAGE, PAGE, f.seven);
    struct ob_dma_span span;
    assert_int_equal(replace(&f, &once, 1), 0);
    assert_int_equal(memory_map(&f.memory, PAGE, 1, true, &span, 1), 1);
    assert_int_equal(replace(&f, again, 2), 0);
    assert_true(span.region->current);
    assert_int_equal(f.fake.mappings, 2);
    assert_int_equal(memory_write(&f.memory, PAGE, "x", 1), 0);
    assert_int_equal(*(char *)span.address, 'x');

    assert_int_equal(replace(&f, &shifted, 1), MEMORY_HELD);
    assert_false(span.region->current);
    memory_unmap(&f.memory, &span, 1);
    tear_down(&f);
}

static void a_refused_table_leaves_spans_current(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc good = region(PAGE, PAGE, 0, f.seven);
    const struct memory_region_desc bad[] = {good, region(0, 0, 0, f.eight)};
    struct ob_dma_span span;
    assert_int_equal(replace(&f, &good, 1), 0);
    assert_int_equal(memory_map(&f.memory, PAGE, 1, true, &span, 1), 1);
    assert_int_equal(replace(&f, bad, 2), -EINVAL);
    assert_true(span.region->current);
    memory_unmap(&f.memory, &span, 1);
    tear_down(&f);
}

static void a_failed_allocation_leaves_the_old_table(void **state)
{
    struct fixture f;
    set_up(&f);
    const struct memory_region_desc old = region(PAGE, PAGE, 0, f.seven);
    const struct memory_region_desc new[] = {
        region(PAGE, PAGE, 0, f.seven),
        region(4 * PAGE, PAGE, 0, f.eight),
        region(2 * PAGE, PAGE, 0, f.eight),
    };
    assert_int_equal(replace(&f, &old, 1), 0);
    unsigned nth = 1;
    for (;; nth++) {
        fail_allocation(nth);
        int err = replace(&f, new, 3);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            break;
        }
        uint8_t byte;
        assert_int_equal(err, -ENOMEM);
        assert_int_equal(f.fake.mappings, 1);
        assert_int_equal(memory_read(&f.memory, PAGE, &byte, 1), 0);
        assert_int_equal(memory_read(&f.memory, 2 * PAGE, &byte, 1), -EFAULT);
    }
    assert_true(nth > 9); /* region and mapping of each, and what the index needs */
    assert_int_equal(f.fake.mappings, 3);
    tear_down(&f);
}

static void too_many_regions_are_refused(void **state)
{
    struct fixture f;
    set_up(&f);
    struct ob_fault fault = {0};
    assert_int_equal(memory_replace(&f.memory, NULL, LIMIT_MEMORY_REGIONS + 1, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "65535"));
    tear_down(&f);
}

static void a_region_that_goes_is_said_to_be_held(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    struct ob_dma_region *removed = NULL;
    set_up(&f);
    const struct memory_region_desc both[] = {region(0, PAGE, 0, f.seven),
                                              region(PAGE, PAGE, 0, f.eight)};
    assert_int_equal(replace(&f, both, 2), 0);
    assert_int_equal(memory_map(&f.memory, PAGE, 16, true, &span, 1), 1);
    assert_int_equal(replace(&f, both, 2), 0);     /* the same again */
    assert_int_equal(replace(&f, both + 1, 1), 0); /* one that nobody holds goes */
    assert_int_equal(replace(&f, both, 1), MEMORY_HELD);
    assert_false(span.region->current);
    assert_int_equal(f.fake.mappings, 2);
    memory_unmap(&f.memory, &span, 1);
    assert_int_equal(f.fake.mappings, 1);
    assert_int_equal(memory_map(&f.memory, 0, 16, true, &span, 1), 1);
    assert_int_equal(memory_remove(&f.memory, 0, PAGE, &removed), MEMORY_HELD);
    assert_true(memory_is_held(removed));
    memory_unmap(&f.memory, &span, 1);
    assert_false(memory_is_held(removed));
    memory_drop(&f.memory, removed);
    assert_int_equal(f.fake.mappings, 0);
    tear_down(&f);
}

static void borrowed_memory_is_reached_and_left_alone(void **state)
{
    struct fixture f;
    uint8_t own[2 * MEMORY_PAGE], bytes[4] = {0};
    set_up(&f);
    memset(own, 0x11, sizeof(own));
    const struct memory_region_desc writable = {
        .gpa = PAGE, .len = PAGE, .fd = -1, .address = own, .writable = true};
    const struct memory_region_desc constant = {
        .gpa = 2 * PAGE, .len = PAGE, .fd = -1, .address = own + PAGE};
    assert_int_equal(memory_add(&f.memory, &writable, 2, NULL), 0);
    assert_int_equal(memory_add(&f.memory, &constant, 2, NULL), 0);
    assert_int_equal(memory_write(&f.memory, 2 * PAGE - 2, "ab", 2), 0);
    assert_memory_equal(own + PAGE - 2, "ab\x11", 3);
    assert_int_equal(memory_write(&f.memory, 2 * PAGE - 2, "cdef", 4), -EACCES);
    assert_memory_equal(own + PAGE - 2, "ab\x11", 3);
    assert_int_equal(memory_read(&f.memory, 2 * PAGE - 2, bytes, 4), 0);
    assert_memory_equal(bytes, "ab\x11\x11", 4);
    assert_int_equal(f.fake.mappings, 0);
    tear_down(&f);
    assert_int_equal(own[0], 0x11); /* nothing has unmapped it */
}

static void a_region_is_had_by_its_exact_place(void **state)
{
    struct fixture f;
    struct ob_dma_region *removed;
    set_up(&f);
    assert_false(memory_has(&f.memory, PAGE, PAGE));
    const struct memory_region_desc desc = region(PAGE, 2 * PAGE, 0, f.seven);
    assert_int_equal(memory_add(&f.memory, &desc, 1, NULL), 0);
    assert_true(memory_has(&f.memory, PAGE, 2 * PAGE));
    assert_false(memory_has(&f.memory, PAGE, PAGE));
    assert_false(memory_has(&f.memory, 2 * PAGE, PAGE));
    assert_false(memory_has(&f.memory, 0, 2 * PAGE));
    assert_int_equal(memory_remove(&f.memory, PAGE, PAGE, &removed), -ENOENT);
    assert_int_equal(memory_remove(&f.memory, PAGE, 2 * PAGE, &removed), 0);
    assert_false(memory_has(&f.memory, PAGE, 2 * PAGE));
    memory_drop(&f.memory, removed);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_empty),
        TEST(memory_that_is_never_mapped_is_there_all_the_same),
        TEST(reads_what_the_file_holds),
        TEST(crosses_regions_that_touch),
        TEST(a_hole_stops_a_copy_before_it_starts),
        TEST(read_only_memory_refuses_writes_alone),
        TEST(a_bad_region_leaves_the_old_table),
        TEST(memory_may_end_with_the_address_space),
        TEST(a_span_outlives_its_region),
        TEST(the_same_memory_named_again_stays_current),
        TEST(a_refused_table_leaves_spans_current),
        TEST(a_failed_allocation_leaves_the_old_table),
        TEST(too_many_regions_are_refused),
        TEST(a_region_that_goes_is_said_to_be_held),
        TEST(borrowed_memory_is_reached_and_left_alone),
        TEST(a_region_is_had_by_its_exact_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
