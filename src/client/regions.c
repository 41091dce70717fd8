// SPDX-License-Identifier: BSD-3-Clause
#include "client/regions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "memory/memory.h"

static int compare(const void *left, const void *right)
{
    const struct ob_client_region *a = left, *b = right;
    return (a->gpa > b->gpa) - (a->gpa < b->gpa);
}

static int check(const struct ob_client_region *region, struct ob_fault *fault)
{
    const char *wrong = NULL;
    if (region->len == 0)
        wrong = "is empty";
    else if ((region->gpa | region->len | region->offset) % MEMORY_PAGE)
        wrong = "is not aligned to pages of 4096";
    else if (region->gpa + (region->len - 1) < region->gpa ||
             region->offset + region->len < region->offset)
        wrong = "wraps around";
    return wrong ? ob_fault_set(fault, -EINVAL,
                                "the memory region at 0x%" PRIx64 " of 0x%" PRIx64 " bytes %s",
                                region->gpa, region->len, wrong)
                 : 0;
}

static bool touch(const struct ob_client_region *low, const struct ob_client_region *high)
{
    return low->fd == high->fd && low->read_only == high->read_only &&
           !low->memory == !high->memory &&
           (!low->memory || (uint8_t *)low->memory + low->len == high->memory) &&
           low->gpa + low->len == high->gpa && low->offset + low->len == high->offset;
}

int regions_merge(struct ob_client_region *regions, unsigned count, struct ob_fault *fault)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        int err = check(&regions[i], fault);
        if (err < 0)
            return err;
    }
    if (count > 0)
        qsort(regions, count, sizeof(regions[0]), compare);
    for (unsigned i = 0; i < count; i++) {
        struct ob_client_region *last = kept > 0 ? &regions[kept - 1] : NULL;
        if (last && regions[i].gpa - last->gpa < last->len)
            return ob_fault_set(fault, -EINVAL,
                                "the memory region at 0x%" PRIx64 " overlaps the one at 0x%" PRIx64,
                                regions[i].gpa, last->gpa);
        if (last && touch(last, &regions[i]))
            last->len += regions[i].len;
        else
            regions[kept++] = regions[i];
    }
    return (int)kept;
}
