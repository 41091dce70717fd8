// SPDX-License-Identifier: BSD-3-Clause
#include "memory/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

void memory_init(struct memory *memory, struct memory_host host)
{
    *memory = (struct memory){.host = host};
}

void memory_never_map(struct memory *memory)
{
    memory->never_maps = true;
}

/* Where the dirty log has the first byte of a region. */
static uint64_t log_address(const struct ob_dma_region *region)
{
    return region->is_part ? region->within->gpa + region->offset : region->gpa;
}

static struct ob_dma_region *find(struct memory *memory, uint64_t gpa)
{
    struct ob_dma_region *last = memory->last;
    if (last && gpa - last->gpa < last->len)
        return last;
    struct ob_dma_region *region = region_index_find(&memory->index, gpa, 1);
    if (region)
        memory->last = region;
    return region;
}

struct ob_dma_region *memory_find(struct memory *memory, uint64_t gpa)
{
    return find(memory, gpa);
}

static void release(struct memory *memory, struct ob_dma_region *region)
{
    while (region && --region->references == 0) {
        struct ob_dma_region *within = region->is_part ? region->within : NULL;
        if (region->address && !region->borrowed)
            memory->host.unmap(memory->host.context, region->address, region->len);
        free(region);
        region = within;
    }
}

static void drop(struct ob_dma_region *region, void *memory)
{
    release(memory, region);
}

/* Empties an index, dropping the set's reference to each region. */
static void empty(struct memory *memory, struct region_index *index)
{
    region_index_each(index, drop, memory);
    region_index_clear(index);
}

static void mark_current(struct ob_dma_region *region, void *unused)
{
    region->current = true;
}

static void mark_gone(struct ob_dma_region *region, void *unused)
{
    region->current = false;
}

static void find_held(struct ob_dma_region *region, void *ret_held)
{
    if (!region->current && region->references > 1)
        *(bool *)ret_held = true;
}

/* Installs a set in the place of the one before. Regions of both stay current throughout. 0 or
 * MEMORY_HELD. */
static int install(struct memory *memory, const struct region_index *index, unsigned count)
{
    struct region_index old = memory->index;
    bool held = false;
    region_index_each(&old, mark_gone, NULL);
    region_index_each(index, mark_current, NULL);
    region_index_each(&old, find_held, &held);
    memory->index = *index;
    memory->generation++;
    memory->count = count;
    memory->last = NULL;
    empty(memory, &old);
    return held ? MEMORY_HELD : 0;
}

void memory_done(struct memory *memory)
{
    install(memory, &(struct region_index){0}, 0);
    dirty_stop(&memory->dirty);
}

static int check_desc(const struct memory_region_desc *desc, unsigned index, struct ob_fault *fault)
{
    if (desc->len == 0)
        return ob_fault_set(fault, -EINVAL, "memory region %u is empty", index);
    if ((desc->gpa | desc->len | desc->offset) % MEMORY_PAGE)
        return ob_fault_set(fault, -EINVAL,
                            "memory region %u (address 0x%" PRIx64 ", size 0x%" PRIx64
                            ", file offset 0x%" PRIx64 ") is not aligned to pages of %u",
                            index, desc->gpa, desc->len, desc->offset, MEMORY_PAGE);
    if (desc->gpa + (desc->len - 1) < desc->gpa || desc->offset + desc->len < desc->offset)
        return ob_fault_set(fault, -EINVAL,
                            "memory region %u (address 0x%" PRIx64 ", size 0x%" PRIx64
                            ", file offset 0x%" PRIx64 ") wraps around",
                            index, desc->gpa, desc->len, desc->offset);
    return 0;
}

/* Maps the range of a description into a region with one reference. */
static int make_region(struct memory *memory, const struct memory_region_desc *desc, unsigned index,
                       struct ob_dma_region **ret_region, struct ob_fault *fault)
{
    struct ob_dma_region *region = malloc(sizeof(*region));
    if (!region)
        return ob_fault_set(fault, -ENOMEM, "no memory for memory region %u", index);
    *region = (struct ob_dma_region){.gpa = desc->gpa,
                                     .len = desc->len,
                                     .offset = desc->offset,
                                     .address = desc->address,
                                     .references = 1,
                                     .writable = desc->writable,
                                     .borrowed = desc->address || desc->within,
                                     .is_part = desc->within};
    if (desc->within) {
        region->address = desc->within->address + desc->offset;
        region->within = desc->within;
        desc->within->references++;
    }
    struct ob_fault why;
    int err = why.code = 0;
    if (desc->fd >= 0 && !region->address && !memory->never_maps)
        err = memory->host.map(memory->host.context, desc->fd, desc->offset, desc->len,
                               desc->writable, &region->address, &region->file, &why);
    if (err < 0) {
        free(region);
        return ob_fault_set(fault, err,
                            "memory region %u (file offset 0x%" PRIx64 ", size 0x%" PRIx64
                            ") can't be mapped: %s",
                            index, desc->offset, desc->len,
                            why.code            ? why.text
                            : err == -EOVERFLOW ? "its file is shorter"
                                                : strerror(-err));
    }
    *ret_region = region;
    return 0;
}

static bool same_memory(const struct ob_dma_region *a, const struct ob_dma_region *b)
{
    if (a->is_part || b->is_part)
        return a->is_part && b->is_part && a->within == b->within;
    return a->file.device == b->file.device && a->file.inode == b->file.inode;
}

static bool same(const struct ob_dma_region *a, const struct ob_dma_region *b)
{
    return a->gpa == b->gpa && a->len == b->len && a->offset == b->offset &&
           a->writable == b->writable && same_memory(a, b);
}

/* Puts the set's region in the place of one that was just made for the same memory. */
static struct ob_dma_region *reuse(struct memory *memory, struct ob_dma_region *made)
{
    struct ob_dma_region *old = region_index_find(&memory->index, made->gpa, made->len);
    if (!old || !same(old, made))
        return made;
    release(memory, made);
    old->references++;
    return old;
}

static int insert(struct memory *memory, struct region_index *into,
                  const struct memory_region_desc *desc, unsigned index, struct ob_fault *fault)
{
    int err = check_desc(desc, index, fault);
    if (err < 0)
        return err;
    const struct ob_dma_region *there = region_index_find(into, desc->gpa, desc->len);
    if (there)
        return ob_fault_set(fault, -EINVAL,
                            "memory region %u (address 0x%" PRIx64 ", size 0x%" PRIx64
                            ") overlaps the one at 0x%" PRIx64,
                            index, desc->gpa, desc->len, there->gpa);
    struct ob_dma_region *region = NULL;
    err = make_region(memory, desc, index, &region, fault);
    if (!region)
        return err;
    if (into != &memory->index)
        region = reuse(memory, region);
    if (region_index_insert(into, region) == 0)
        return 0;
    release(memory, region);
    return ob_fault_set(fault, -ENOMEM, "no memory for memory region %u", index);
}

int memory_replace(struct memory *memory, const struct memory_region_desc *descs, unsigned count,
                   struct ob_fault *fault)
{
    struct region_index made = {0};
    int err = 0;
    if (count > LIMIT_MEMORY_REGIONS)
        err = ob_fault_set(fault, -EINVAL, "got %u memory regions, expected at most %u", count,
                           LIMIT_MEMORY_REGIONS);
    for (unsigned i = 0; i < count && err == 0; i++)
        err = insert(memory, &made, &descs[i], i, fault);
    if (err < 0)
        empty(memory, &made);
    return err < 0 ? err : install(memory, &made, count);
}

int memory_add(struct memory *memory, const struct memory_region_desc *desc, unsigned max_regions,
               struct ob_fault *fault)
{
    if (memory->count >= max_regions)
        return -ENOSPC;
    int err = check_desc(desc, memory->count, fault);
    if (err == 0 && region_index_find(&memory->index, desc->gpa, desc->len))
        err = -EEXIST;
    if (err == 0)
        err = insert(memory, &memory->index, desc, memory->count, fault);
    if (err < 0)
        return err;
    find(memory, desc->gpa)->current = true;
    memory->count++;
    memory->generation++;
    return 0;
}

bool memory_has(struct memory *memory, uint64_t gpa, uint64_t len)
{
    const struct ob_dma_region *region = find(memory, gpa);
    return region && region->gpa == gpa && region->len == len;
}

bool memory_is_held(const struct ob_dma_region *region)
{
    return region->references > 1;
}

const struct ob_dma_region *memory_next(const struct memory *memory, uint64_t gpa)
{
    return region_index_next(&memory->index, gpa);
}

/* 0 or MEMORY_HELD. */
static int remove_region(struct memory *memory, struct ob_dma_region *region)
{
    region_index_remove(&memory->index, region);
    region->current = false;
    memory->last = NULL;
    memory->count--;
    memory->generation++;
    return memory_is_held(region) ? MEMORY_HELD : 0;
}

int memory_remove(struct memory *memory, uint64_t gpa, uint64_t len,
                  struct ob_dma_region **ret_region)
{
    if (!memory_has(memory, gpa, len))
        return -ENOENT;
    *ret_region = find(memory, gpa);
    return remove_region(memory, *ret_region);
}

int memory_remove_overlap(struct memory *memory, uint64_t gpa, uint64_t len,
                          struct ob_dma_region **ret_region)
{
    struct ob_dma_region *region = region_index_find(&memory->index, gpa, len);
    if (!region)
        return -ENOENT;
    *ret_region = region;
    return remove_region(memory, region);
}

int memory_remove_any(struct memory *memory, struct ob_dma_region **ret_region)
{
    return memory_remove_overlap(memory, 0, UINT64_MAX, ret_region);
}

void memory_drop(struct memory *memory, struct ob_dma_region *region)
{
    release(memory, region);
}

/* Finds the bytes at gpa; *ret_len is how many are contiguous there, at most len. */
static int look_up(struct memory *memory, uint64_t gpa, size_t len, bool write, uint8_t **ret_at,
                   size_t *ret_len, struct ob_dma_region **ret_region)
{
    struct ob_dma_region *region = find(memory, gpa);
    if (!region)
        return -EFAULT;
    if (write && !region->writable)
        return -EACCES;
    uint64_t into = gpa - region->gpa;
    uint64_t left = region->len - into;
    *ret_at = region->address ? region->address + into : NULL;
    *ret_len = len < left ? len : (size_t)left;
    *ret_region = region;
    return region->address ? 0 : -EREMOTE;
}

static bool wraps(uint64_t gpa, size_t len)
{
    return len > 0 && gpa + (len - 1) < gpa;
}

/* Whether all of a range is there, so that a copy is done as a whole or not at all: 0, -EFAULT or
 * -EACCES, and -EREMOTE when nothing worse was found. */
static int check_range(struct memory *memory, uint64_t gpa, size_t len, bool write)
{
    int result = wraps(gpa, len) ? -EFAULT : 0;
    while ((result == 0 || result == -EREMOTE) && len > 0) {
        uint8_t *at;
        size_t piece = 0;
        struct ob_dma_region *region;
        int err = look_up(memory, gpa, len, write, &at, &piece, &region);
        if (err < 0)
            result = err;
        gpa += piece;
        len -= piece;
    }
    return result;
}

int memory_check(struct memory *memory, uint64_t gpa, size_t len, bool write)
{
    int err = check_range(memory, gpa, len, write);
    return err == -EREMOTE ? 0 : err;
}

int memory_at(struct memory *memory, uint64_t gpa, size_t len, bool write, uint8_t **ret_at)
{
    uint8_t *start = NULL;
    size_t done = 0;
    if (wraps(gpa, len))
        return -EFAULT;
    while (done < len) {
        uint8_t *at;
        size_t piece;
        struct ob_dma_region *region;
        int err = look_up(memory, gpa + done, len - done, write, &at, &piece, &region);
        if (err < 0)
            return err;
        if (done == 0)
            start = at;
        else if (at != start + done)
            return -E2BIG;
        done += piece;
    }
    *ret_at = start;
    return 0;
}

void memory_mark(struct memory *memory, uint64_t gpa, size_t len)
{
    const struct ob_dma_region *region;
    while (len > 0 && (region = find(memory, gpa))) {
        const uint64_t into = gpa - region->gpa, left = region->len - into;
        const size_t piece = len < left ? len : (size_t)left;
        dirty_mark(&memory->dirty, log_address(region) + into, piece);
        gpa += piece;
        len -= piece;
    }
}

int memory_read(struct memory *memory, uint64_t gpa, void *ret_buf, size_t len)
{
    uint8_t *to = ret_buf;
    if (wraps(gpa, len))
        return -EFAULT;
    while (len > 0) {
        uint8_t *at;
        size_t piece;
        struct ob_dma_region *region;
        int err = look_up(memory, gpa, len, false, &at, &piece, &region);
        if (err < 0)
            return err;
        memcpy(to, at, piece);
        to += piece;
        gpa += piece;
        len -= piece;
    }
    return 0;
}

int memory_write(struct memory *memory, uint64_t gpa, const void *buf, size_t len)
{
    const uint8_t *from = buf;
    int err = check_range(memory, gpa, len, true);
    while (err == 0 && len > 0) {
        uint8_t *at;
        size_t piece;
        struct ob_dma_region *region;
        err = look_up(memory, gpa, len, true, &at, &piece, &region);
        if (err < 0)
            break;
        memcpy(at, from, piece);
        /* Afterwards: a VMM that copies a page takes the mark away first. */
        dirty_mark(&memory->dirty, log_address(region) + (gpa - region->gpa), piece);
        from += piece;
        gpa += piece;
        len -= piece;
    }
    return err;
}

static void mark_written(struct memory *memory, const struct ob_dma_span *span)
{
    const struct ob_dma_region *region = span->region;
    uint64_t into = (uint64_t)((const uint8_t *)span->address - region->address);
    if (span->direction == OB_DMA_FROM_DEVICE)
        dirty_mark(&memory->dirty, log_address(region) + into, span->len);
}

int memory_map(struct memory *memory, uint64_t gpa, size_t len, bool write,
               struct ob_dma_span *ret_spans, unsigned max_spans)
{
    unsigned count = 0;
    if (wraps(gpa, len))
        return -EFAULT;
    while (len > 0) {
        struct ob_dma_span span = {.direction = write ? OB_DMA_FROM_DEVICE : OB_DMA_TO_DEVICE};
        uint8_t *at = NULL;
        int err = look_up(memory, gpa, len, write, &at, &span.len, &span.region);
        if (err < 0)
            return err;
        if (count == max_spans)
            return -E2BIG;
        span.address = at;
        ret_spans[count++] = span;
        gpa += span.len;
        len -= span.len;
    }
    for (unsigned i = 0; i < count; i++) {
        ret_spans[i].region->references++;
        mark_written(memory, &ret_spans[i]);
    }
    return (int)count;
}

void memory_unmap(struct memory *memory, struct ob_dma_span *spans, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!spans[i].region)
            continue; /* given back before */
        mark_written(memory, &spans[i]);
        release(memory, spans[i].region);
        spans[i] = (struct ob_dma_span){0};
    }
}
