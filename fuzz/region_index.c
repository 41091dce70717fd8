// SPDX-License-Identifier: BSD-3-Clause
/*
 * The index of guest memory (src/memory/region_index.h) against an array of what is there.
 *
 * What must hold: find() and next() give what a walk through the array gives; each() visits all
 * regions in order; no leaf is empty, or says something else than its regions do, and any two
 * neighbours hold more than half a leaf.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "memory/memory.h"
#include "memory/region_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE        UINT64_C(4096)
#define MAX_REGIONS 1024u
#define LAST_PAGES  16u /* pages at the end of all addresses are places too */
#define PLACES      4096u
#define LOW_PLACES  (PLACES - LAST_PAGES)

struct run {
    struct rd input;
    struct region_index index;
    struct ob_dma_region regions[MAX_REGIONS]; /* of length 0: free */
    unsigned count;
    struct ob_dma_region *at[PLACES]; /* the array: which region a page belongs to */
};

/* The address of a place: most at the start, some at the end. */
static uint64_t address(unsigned place)
{
    return place < LOW_PLACES ? place * PAGE : UINT64_MAX - (PLACES - place) * PAGE + 1;
}

/* How many of so many pages from a place on are next to each other. */
static unsigned clip(unsigned place, unsigned pages)
{
    unsigned left = (place < LOW_PLACES ? LOW_PLACES : PLACES) - place;
    return pages < left ? pages : left;
}

static struct ob_dma_region *first_in(const struct run *run, unsigned place, unsigned pages)
{
    for (unsigned i = place; i < place + pages; i++)
        if (run->at[i])
            return run->at[i];
    return NULL;
}

static void insert(struct run *run, unsigned place, unsigned pages)
{
    pages = clip(place, pages);
    if (first_in(run, place, pages) || run->count == MAX_REGIONS)
        return;
    struct ob_dma_region *region = run->regions;
    while (region->len > 0)
        region++;
    *region = (struct ob_dma_region){.gpa = address(place), .len = pages * PAGE};
    CHECK(region_index_insert(&run->index, region) == 0);
    for (unsigned i = place; i < place + pages; i++)
        run->at[i] = region;
    run->count++;
}

static void take(struct run *run, struct ob_dma_region *region)
{
    region_index_remove(&run->index, region);
    for (unsigned i = 0; i < PLACES; i++)
        if (run->at[i] == region)
            run->at[i] = NULL;
    region->len = 0;
    run->count--;
}

static void insert_one(struct run *run)
{
    unsigned place = rd_u16(&run->input) % PLACES;
    insert(run, place, 1u + rd_u8(&run->input) % 8);
}

/* Many at once, upwards or downwards, which fills leaves at their ends. */
static void insert_many(struct run *run)
{
    unsigned place = rd_u16(&run->input) % PLACES, count = rd_u8(&run->input);
    bool down = rd_u8(&run->input) & 1;
    for (unsigned i = 0; i < count; i++)
        insert(run, (place + (down ? PLACES - 2 * i : 2 * i)) % PLACES, 1);
}

static void remove_one(struct run *run)
{
    unsigned place = rd_u16(&run->input) % PLACES;
    if (run->at[place])
        take(run, run->at[place]);
}

static void remove_many(struct run *run)
{
    unsigned place = rd_u16(&run->input) % PLACES, count = rd_u8(&run->input);
    for (unsigned i = 0; i < count; i++)
        if (run->at[(place + i) % PLACES])
            take(run, run->at[(place + i) % PLACES]);
}

static void find(struct run *run)
{
    unsigned place = rd_u16(&run->input) % PLACES, pages = clip(place, 1u + rd_u8(&run->input));
    uint64_t into = rd_u16(&run->input) % PAGE, gpa = address(place) + into;
    uint64_t len = pages * PAGE - into;
    const struct ob_dma_region *found = region_index_find(&run->index, gpa, len);
    CHECK(!found == !first_in(run, place, pages));
    CHECK(!found || (found->gpa <= gpa + (len - 1) && gpa <= found->gpa + (found->len - 1)));
    CHECK(region_index_find(&run->index, gpa, 1) == run->at[place]);
    CHECK(region_index_next(&run->index, gpa) == first_in(run, place, PLACES - place));
}

struct visit {
    unsigned count;
    uint64_t next;
};

static void visit(struct ob_dma_region *region, void *argument)
{
    struct visit *visits = argument;
    CHECK(region->len > 0 && (visits->count == 0 || region->gpa >= visits->next));
    visits->next = region->gpa + region->len; /* 0 behind the last address */
    visits->count++;
}

static void check_all(struct run *run)
{
    const struct region_index *index = &run->index;
    struct visit visits = {0};
    region_index_each(index, visit, &visits);
    CHECK(visits.count == run->count && index->count <= index->room);
    for (unsigned i = 0; i < index->count; i++) {
        const struct region_leaf *leaf = index->leaves[i];
        CHECK(leaf->count > 0 && leaf->count <= REGION_LEAF && index->starts[i] == leaf->starts[0]);
        CHECK(i == 0 || leaf->count + index->leaves[i - 1]->count > REGION_LEAF / 2);
        for (unsigned j = 0; j < REGION_LEAF; j++)
            CHECK(leaf->starts[j] == (j < leaf->count ? leaf->regions[j]->gpa : UINT64_MAX));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct run *) = {insert_one,  insert_many, insert_many, remove_one,
                                                  remove_many, find,        find,        find};
    static struct run run;
    memset(&run, 0, sizeof(run));
    run.input = rd_init(data, size);
    while (run.input.left > 0 && !run.input.bad) {
        steps[rd_u8(&run.input) % 8](&run);
        check_all(&run);
    }
    region_index_clear(&run.index);
    return 0;
}
