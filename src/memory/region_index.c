// SPDX-License-Identifier: BSD-3-Clause
#include "memory/region_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/memory.h"

#define FIRST_ROOM 16u
#define CACHE_LINE 64u

/* Whether a step of a binary search goes up. The compiler is told that nobody can guess, so that it
 * makes no branch of it: one that is guessed wrong every other time costs more than the step. */
static bool is_up_to(const uint64_t *start, uint64_t address)
{
    return __builtin_expect_with_probability(*start <= address, 1, 0.5);
}

/* How many of count ascending addresses are not above a given one. */
static unsigned count_up_to(const uint64_t *starts, unsigned count, uint64_t address)
{
    const uint64_t *at = starts;
    if (count == 0)
        return 0;
    while (count > 1) {
        unsigned half = count / 2;
        const uint64_t *upper = at + half;
        at = is_up_to(upper - 1, address) ? upper : at;
        count -= half;
    }
    return (unsigned)(at - starts) + (*at <= address);
}

/* The leaf in which a region that starts there is or belongs: the first one when it is below all.
 */
static unsigned leaf_of(const struct region_index *index, uint64_t address)
{
    unsigned up_to = count_up_to(index->starts, index->count, address);
    return up_to > 0 ? up_to - 1 : 0;
}

/* As count_up_to(), for all of a leaf at once, so that the steps are the same in each and none has
 * to wait for the number of its regions. */
static unsigned leaf_count_up_to(const struct region_leaf *leaf, uint64_t address)
{
    unsigned up_to = 0;
#pragma GCC unroll 8
    for (unsigned half = REGION_LEAF / 2; half > 0; half /= 2)
        up_to += half * is_up_to(&leaf->starts[up_to + half - 1], address);
    up_to += is_up_to(&leaf->starts[up_to], address);
    return up_to < leaf->count ? up_to : leaf->count;
}

/* Has all of a leaf come at once: a binary search would wait for its memory again and again. */
static void fetch(const struct region_leaf *leaf)
{
#pragma GCC unroll 8
    for (unsigned i = 0; i < REGION_LEAF; i += CACHE_LINE / sizeof(leaf->starts[0])) {
        __builtin_prefetch(&leaf->starts[i]);
        __builtin_prefetch(&leaf->regions[i]);
    }
}

static void set_count(struct region_leaf *leaf, unsigned count)
{
    leaf->count = count;
    for (unsigned i = count; i < REGION_LEAF; i++)
        leaf->starts[i] = UINT64_MAX;
}

void region_index_clear(struct region_index *index)
{
    for (unsigned i = 0; i < index->count; i++)
        free(index->leaves[i]);
    free(index->leaves);
    free(index->starts);
    *index = (struct region_index){0};
}

struct ob_dma_region *region_index_find(const struct region_index *index, uint64_t gpa,
                                        uint64_t len)
{
    const uint64_t last = gpa + (len - 1);
    if (index->count == 0)
        return NULL;
    const struct region_leaf *leaf = index->leaves[leaf_of(index, last)];
    fetch(leaf);
    unsigned up_to = leaf_count_up_to(leaf, last);
    struct ob_dma_region *region = up_to > 0 ? leaf->regions[up_to - 1] : NULL;
    return region && gpa <= region->gpa + (region->len - 1) ? region : NULL;
}

struct ob_dma_region *region_index_next(const struct region_index *index, uint64_t gpa)
{
    if (index->count == 0)
        return NULL;
    unsigned at = leaf_of(index, gpa);
    const struct region_leaf *leaf = index->leaves[at];
    unsigned up_to = leaf_count_up_to(leaf, gpa);
    struct ob_dma_region *before = up_to > 0 ? leaf->regions[up_to - 1] : NULL;
    if (before && gpa <= before->gpa + (before->len - 1))
        return before;
    if (up_to < leaf->count)
        return leaf->regions[up_to];
    return at + 1 < index->count ? index->leaves[at + 1]->regions[0] : NULL;
}

static int make_room(struct region_index *index)
{
    if (index->count < index->room)
        return 0;
    unsigned room = index->room ? 2 * index->room : FIRST_ROOM;
    uint64_t *starts = malloc(room * sizeof(starts[0]));
    struct region_leaf **leaves = malloc(room * sizeof(void *));
    if (!starts || !leaves) {
        free(starts);
        free(leaves);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < index->count; i++) {
        starts[i] = index->starts[i];
        leaves[i] = index->leaves[i];
    }
    free(index->starts);
    free(index->leaves);
    index->starts = starts;
    index->leaves = leaves;
    index->room = room;
    return 0;
}

/* Puts a fresh, empty leaf at a place, for regions from an address on. NULL: no memory. */
static struct region_leaf *add_leaf(struct region_index *index, unsigned at, uint64_t start)
{
    struct region_leaf *leaf = make_room(index) == 0 ? malloc(sizeof(*leaf)) : NULL;
    if (!leaf)
        return NULL;
    set_count(leaf, 0);
    unsigned behind = index->count - at;
    memmove(index->starts + at + 1, index->starts + at, behind * sizeof(index->starts[0]));
    memmove(index->leaves + at + 1, index->leaves + at, behind * sizeof(void *));
    index->starts[at] = start;
    index->leaves[at] = leaf;
    index->count++;
    return leaf;
}

static void remove_leaf(struct region_index *index, unsigned at)
{
    unsigned behind = index->count - at - 1;
    free(index->leaves[at]);
    memmove(index->starts + at, index->starts + at + 1, behind * sizeof(index->starts[0]));
    memmove(index->leaves + at, index->leaves + at + 1, behind * sizeof(void *));
    index->count--;
}

/* Copies regions behind those of a leaf. */
static void append(struct region_leaf *to, const struct region_leaf *from, unsigned at,
                   unsigned count)
{
    memcpy(to->starts + to->count, from->starts + at, count * sizeof(to->starts[0]));
    memcpy(to->regions + to->count, from->regions + at, count * sizeof(void *));
    to->count += count;
}

/* Moves the upper half of a full leaf into one behind it. */
static int split(struct region_index *index, unsigned at)
{
    struct region_leaf *lower = index->leaves[at];
    struct region_leaf *upper = add_leaf(index, at + 1, lower->starts[REGION_LEAF / 2]);
    if (!upper)
        return -ENOMEM;
    append(upper, lower, REGION_LEAF / 2, REGION_LEAF - REGION_LEAF / 2);
    set_count(lower, REGION_LEAF / 2);
    return 0;
}

int region_index_insert(struct region_index *index, struct ob_dma_region *region)
{
    if (index->count == 0 && !add_leaf(index, 0, region->gpa))
        return -ENOMEM;
    unsigned at = leaf_of(index, region->gpa);
    if (index->leaves[at]->count == REGION_LEAF) {
        if (split(index, at) < 0)
            return -ENOMEM;
        at = leaf_of(index, region->gpa);
    }
    struct region_leaf *leaf = index->leaves[at];
    unsigned place = leaf_count_up_to(leaf, region->gpa);
    unsigned behind = leaf->count - place;
    memmove(leaf->starts + place + 1, leaf->starts + place, behind * sizeof(leaf->starts[0]));
    memmove(leaf->regions + place + 1, leaf->regions + place, behind * sizeof(void *));
    leaf->starts[place] = region->gpa;
    leaf->regions[place] = region;
    leaf->count++;
    index->starts[at] = leaf->starts[0];
    return 0;
}

/* Joins a leaf with the one behind it when both together are at most half of one. */
static void join(struct region_index *index, unsigned at)
{
    if (at + 1 >= index->count)
        return;
    struct region_leaf *lower = index->leaves[at];
    const struct region_leaf *upper = index->leaves[at + 1];
    if (lower->count + upper->count > REGION_LEAF / 2)
        return;
    append(lower, upper, 0, upper->count);
    remove_leaf(index, at + 1);
}

void region_index_remove(struct region_index *index, const struct ob_dma_region *region)
{
    unsigned at = leaf_of(index, region->gpa);
    struct region_leaf *leaf = index->leaves[at];
    unsigned place = leaf_count_up_to(leaf, region->gpa) - 1;
    unsigned behind = leaf->count - place - 1;
    assert(place < leaf->count && leaf->regions[place] == region);
    memmove(leaf->starts + place, leaf->starts + place + 1, behind * sizeof(leaf->starts[0]));
    memmove(leaf->regions + place, leaf->regions + place + 1, behind * sizeof(void *));
    set_count(leaf, leaf->count - 1);
    if (leaf->count == 0) {
        remove_leaf(index, at);
    } else {
        index->starts[at] = leaf->starts[0];
        join(index, at);
    }
    if (at > 0)
        join(index, at - 1);
}

void region_index_each(const struct region_index *index,
                       void (*visit)(struct ob_dma_region *region, void *argument), void *argument)
{
    for (unsigned i = 0; i < index->count; i++)
        for (unsigned j = 0; j < index->leaves[i]->count; j++)
            visit(index->leaves[i]->regions[j], argument);
}
