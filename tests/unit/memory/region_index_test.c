// SPDX-License-Identifier: BSD-3-Clause
#include "memory/region_index.h"

#include "base/limits.h"
#include "failing_alloc.h"
#include "memory/memory.h"
#include "support.h"

#include <errno.h>
#include <stdlib.h>

#define PLACES 2000u
#define PAGE   UINT64_C(4096)

/* A world of places, in each of which a region of one page is or is not, with a page between. */
struct fixture {
    struct region_index index;
    struct ob_dma_region regions[PLACES];
    bool there[PLACES];
    unsigned count;
    uint64_t random;
};

static struct fixture *make(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->random = 88172645463325252u;
    for (unsigned i = 0; i < PLACES; i++)
        f->regions[i] = (struct ob_dma_region){.gpa = (2 * i + 1) * PAGE, .len = PAGE};
    return f;
}

static void done(struct fixture *f)
{
    region_index_clear(&f->index);
    free(f);
}

static unsigned draw(struct fixture *f, unsigned below)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (unsigned)(f->random % below);
}

static void toggle(struct fixture *f, unsigned place)
{
    if (f->there[place])
        region_index_remove(&f->index, &f->regions[place]);
    else
        assert_int_equal(region_index_insert(&f->index, &f->regions[place]), 0);
    f->count += f->there[place] ? -1u : 1u;
    f->there[place] = !f->there[place];
}

static void count_visit(struct ob_dma_region *region, void *argument)
{
    struct ob_dma_region ***next = argument;
    *(*next)++ = region;
}

/* That everything is found that is there, and nothing else; in order; in leaves that are not too
 * many. */
static void check(struct fixture *f)
{
    struct ob_dma_region *visited[PLACES], **end = visited;
    unsigned at = 0;
    region_index_each(&f->index, count_visit, &end);
    assert_int_equal(end - visited, f->count);
    for (unsigned i = 0; i < PLACES; i++) {
        struct ob_dma_region *expected = f->there[i] ? &f->regions[i] : NULL;
        uint64_t gpa = f->regions[i].gpa;
        assert_ptr_equal(region_index_find(&f->index, gpa, 1), expected);
        assert_ptr_equal(region_index_find(&f->index, gpa + PAGE - 1, 1), expected);
        assert_ptr_equal(region_index_find(&f->index, gpa - PAGE, 2 * PAGE), expected);
        assert_null(region_index_find(&f->index, gpa + PAGE, PAGE));
        assert_null(region_index_find(&f->index, gpa - 1, 1));
        if (expected)
            assert_ptr_equal(visited[at++], expected);
    }
    assert_true(f->index.count <= 2 * f->count / (REGION_LEAF / 2) + 1);
}

static void an_empty_one_has_nothing(void **state)
{
    struct fixture *f = make();
    check(f);
    toggle(f, 7);
    toggle(f, 7);
    check(f);
    done(f);
}

static void finds_what_is_there_after_any_changes(void **state)
{
    struct fixture *f = make();
    for (unsigned i = 0; i < 20; i++) {
        /* Few, then more, then few again. */
        for (unsigned j = 0; j < 500 && i < 10; j++)
            toggle(f, draw(f, PLACES));
        for (unsigned j = 0; j < PLACES && i >= 10; j++)
            if (f->there[j] && draw(f, 3) == 0)
                toggle(f, j);
        check(f);
    }
    done(f);
}

static void any_order_will_do(void **state)
{
    struct fixture *f = make();
    for (unsigned i = 0; i < PLACES; i++)
        toggle(f, i);
    check(f);
    for (unsigned i = 0; i < PLACES; i++)
        toggle(f, i);
    check(f);
    for (unsigned i = PLACES; i > 0; i--)
        toggle(f, i - 1);
    check(f);
    for (unsigned i = PLACES; i > 0; i--)
        toggle(f, i - 1);
    check(f);
    done(f);
}

/* A peer that leaves one region in each leaf gets no more leaves for it. */
static void thinned_leaves_are_joined(void **state)
{
    struct fixture *f = make();
    for (unsigned i = 0; i < PLACES; i++)
        toggle(f, i);
    for (unsigned i = 0; i < PLACES; i++)
        if (i % (REGION_LEAF / 2))
            toggle(f, i);
    assert_true(f->index.count <= 2);
    check(f);
    done(f);
}

static void a_failed_allocation_changes_nothing(void **state)
{
    struct fixture *f = make();
    unsigned failures = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        fail_allocation(1);
        int err = region_index_insert(&f->index, &f->regions[i]);
        bool refused = allocation_failed();
        assert_int_equal(err, refused ? -ENOMEM : 0);
        failures += refused;
        if (refused) {
            check(f);
            toggle(f, i);
        } else {
            f->there[i] = true;
            f->count++;
        }
    }
    assert_true(failures > 10);
    check(f);
    done(f);
}

static void the_ends_of_the_address_space_are_addresses(void **state)
{
    struct region_index index = {0};
    struct ob_dma_region first = {.gpa = 0, .len = PAGE};
    struct ob_dma_region last = {.gpa = UINT64_MAX - PAGE + 1, .len = PAGE};
    assert_int_equal(region_index_insert(&index, &last), 0);
    assert_null(region_index_find(&index, 0, PAGE));
    assert_int_equal(region_index_insert(&index, &first), 0);
    assert_ptr_equal(region_index_find(&index, 0, 1), &first);
    assert_ptr_equal(region_index_find(&index, UINT64_MAX, 1), &last);
    assert_null(region_index_find(&index, PAGE, last.gpa - PAGE));
    region_index_clear(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_one_has_nothing),
        TEST(finds_what_is_there_after_any_changes),
        TEST(any_order_will_do),
        TEST(thinned_leaves_are_joined),
        TEST(a_failed_allocation_changes_nothing),
        TEST(the_ends_of_the_address_space_are_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
