// SPDX-License-Identifier: BSD-3-Clause
/*
 * Region index: regions of guest memory that do not overlap, in the order of their addresses.
 *
 * Look-ups are far more frequent than changes, and with tens of thousands of regions their cost
 * is the memory that they touch. So addresses lie side by side: an array of leaves, each an array
 * of up to REGION_LEAF regions. The first address of each leaf is in an array of its own. A
 * look-up is a binary search in that, another in the leaf, and one look at the region found. A
 * change moves the regions behind it in one leaf, and in the array of leaves once in many changes, when
 * a leaf is split or two are joined. Any two neighbours hold more than half a leaf, so that a peer
 * that maps and unmaps at its pleasure makes no more than four times the leaves that its regions
 * would fill.
 */
#ifndef OUTBOARD_MEMORY_REGION_INDEX_H
#define OUTBOARD_MEMORY_REGION_INDEX_H

#include <stdint.h>

#include <outboard/dma.h>

#define REGION_LEAF 64u /* a power of two */

struct region_leaf {
    unsigned count;               /* never 0 */
    uint64_t starts[REGION_LEAF]; /* behind the last region, UINT64_MAX */
    struct ob_dma_region *regions[REGION_LEAF];
};

/* All zero: an empty one. */
struct region_index {
    uint64_t *starts; /* of the first region of each leaf */
    struct region_leaf **leaves;
    unsigned count; /* of leaves */
    unsigned room;  /* number of places */
};

/* Forgets all regions, which stay the caller's. */
void region_index_clear(struct region_index *index);

/* Returns a region that overlaps len bytes at gpa, which do not wrap, or NULL. */
struct ob_dma_region *region_index_find(const struct region_index *index, uint64_t gpa,
                                        uint64_t len);

/* Returns the lowest region that has bytes at gpa or behind, or NULL. */
struct ob_dma_region *region_index_next(const struct region_index *index, uint64_t gpa);

/* Adds a region that overlaps no other. 0 or -ENOMEM. */
int region_index_insert(struct region_index *index, struct ob_dma_region *region);

/* Removes a region that is there. */
void region_index_remove(struct region_index *index, const struct ob_dma_region *region);

/* Calls visit for each region, in order; it changes nothing of the index. */
void region_index_each(const struct region_index *index,
                       void (*visit)(struct ob_dma_region *region, void *argument), void *argument);

#endif
