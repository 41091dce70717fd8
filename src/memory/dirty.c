// SPDX-License-Identifier: BSD-3-Clause
#include "memory/dirty.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST_PAGE 4096u
#define BLOCK_PAGES   LIMIT_DIRTY_BLOCK_PAGES

/* The bits of pages number * BLOCK_PAGES and on. */
struct dirty_block {
    uint64_t number;
    uint8_t bits[BLOCK_PAGES / 8];
};

static bool contains(const struct dirty_range *range, uint64_t start, uint64_t len)
{
    return start >= range->start && start - range->start <= range->len &&
           len <= range->len - (start - range->start);
}

static bool overlap(const struct dirty_range *a, const struct dirty_range *b)
{
    return a->start <= b->start + (b->len - 1) && b->start <= a->start + (a->len - 1);
}

static int check(uint64_t page, const struct dirty_range *ranges, unsigned count)
{
    uint64_t pages = 0;
    if (page < SMALLEST_PAGE || page & (page - 1))
        return -EINVAL;
    if (count > LIMIT_DIRTY_RANGES)
        return -E2BIG;
    for (unsigned i = 0; i < count; i++) {
        const struct dirty_range *range = &ranges[i];
        if (range->len == 0 || (range->start | range->len) & (page - 1) ||
            range->start + (range->len - 1) < range->start)
            return -EINVAL;
        for (unsigned j = 0; j < i; j++)
            if (overlap(range, &ranges[j]))
                return -EINVAL;
        pages += range->len / page;
        if (range->len / page > LIMIT_DIRTY_PAGES || pages > LIMIT_DIRTY_PAGES)
            return -E2BIG;
    }
    return 0;
}

int dirty_start(struct dirty_log *log, uint64_t page, const struct dirty_range *ranges,
                unsigned count)
{
    int err = log->page ? -EBUSY : check(page, ranges, count);
    if (err < 0)
        return err;
    log->page = page;
    log->all = count == 0;
    while (log->count < count) {
        struct dirty_range *range = &log->ranges[log->count];
        *range = ranges[log->count];
        range->bits = calloc(range->len / page / 8 + 1, 1);
        if (!range->bits) {
            dirty_stop(log);
            return -ENOMEM;
        }
        log->count++;
    }
    return 0;
}

void dirty_stop(struct dirty_log *log)
{
    while (log->count > 0)
        free(log->ranges[--log->count].bits);
    tdestroy(log->blocks, free);
    *log = (struct dirty_log){.shared = log->shared, .shared_len = log->shared_len};
}

/* Marks the part of [start, last] in a range. */
static void mark(const struct dirty_range *range, uint64_t page, uint64_t start, uint64_t last)
{
    uint64_t end = range->start + (range->len - 1);
    uint64_t from = start > range->start ? start : range->start;
    uint64_t to = last < end ? last : end;
    for (uint64_t bit = (from - range->start) / page;
         from <= to && bit <= (to - range->start) / page; bit++)
        range->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static int compare(const void *left, const void *right)
{
    const struct dirty_block *a = left, *b = right;
    return (a->number > b->number) - (a->number < b->number);
}

static struct dirty_block *find_block(const struct dirty_log *log, uint64_t number)
{
    const struct dirty_block key = {.number = number};
    struct dirty_block **node = tfind(&key, &log->blocks, compare);
    return node ? *node : NULL;
}

/* The block with this number, or NULL when there can't be another. */
static struct dirty_block *make_block(struct dirty_log *log, uint64_t number)
{
    struct dirty_block *block = find_block(log, number);
    if (block || log->num_blocks == LIMIT_DIRTY_PAGES / BLOCK_PAGES)
        return block;
    block = calloc(1, sizeof(*block));
    if (!block)
        return NULL;
    block->number = number;
    if (!tsearch(block, &log->blocks, compare)) {
        free(block);
        return NULL;
    }
    log->num_blocks++;
    return block;
}

/* Marks in the log of all memory the pages of [start, last]. */
static void mark_all(struct dirty_log *log, uint64_t start, uint64_t last)
{
    uint64_t page = start / log->page, end = last / log->page;
    while (!log->lost && page <= end) {
        struct dirty_block *block = make_block(log, page / BLOCK_PAGES);
        log->lost = !block;
        do {
            if (block)
                block->bits[page % BLOCK_PAGES / 8] |= (uint8_t)(1u << page % 8);
            page++;
        } while (page <= end && page % BLOCK_PAGES);
    }
}

void dirty_share(struct dirty_log *log, uint8_t *bits, uint64_t len)
{
    log->shared = bits;
    log->shared_len = bits ? len : 0;
}

static void mark_shared(const struct dirty_log *log, uint64_t start, uint64_t last)
{
    for (uint64_t page = start / SMALLEST_PAGE;
         page <= last / SMALLEST_PAGE && page / 8 < log->shared_len; page++)
        __atomic_fetch_or(&log->shared[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
}

void dirty_mark(struct dirty_log *log, uint64_t start, uint64_t len)
{
    if (log->shared && len > 0)
        mark_shared(log, start, start + (len - 1));
    if (log->all && len > 0)
        mark_all(log, start, start + (len - 1));
    for (unsigned i = 0; len > 0 && i < log->count; i++)
        mark(&log->ranges[i], log->page, start, start + (len - 1));
}

void dirty_mark_everything(struct dirty_log *log)
{
    log->lost = log->all;
    for (unsigned i = 0; i < log->count; i++)
        dirty_mark(log, log->ranges[i].start, log->ranges[i].len);
}

static const struct dirty_range *find(const struct dirty_log *log, uint64_t start, uint64_t len)
{
    for (unsigned i = 0; i < log->count; i++)
        if (contains(&log->ranges[i], start, len))
            return &log->ranges[i];
    return NULL;
}

static bool is_logged(const struct dirty_log *log, uint64_t start, uint64_t len)
{
    return log->all ? start + (len - 1) >= start : find(log, start, len) != NULL;
}

int64_t dirty_report_len(const struct dirty_log *log, uint64_t page, uint64_t start, uint64_t len)
{
    if (!log->page || page != log->page || len == 0 || (start | len) & (page - 1) ||
        !is_logged(log, start, len))
        return -EINVAL;
    return (int64_t)((len / page + 63) / 64 * 8);
}

/* Where the bits are that begin with this page's, and in *ret_first which of them is its; at most
 * *count of them. NULL: none of these pages was written. */
static uint8_t *bits_of(const struct dirty_log *log, uint64_t page, uint64_t *count,
                        uint64_t *ret_first)
{
    if (!log->all) {
        const struct dirty_range *range = find(log, page * log->page, *count * log->page);
        *ret_first = page - range->start / log->page;
        return range->bits;
    }
    struct dirty_block *block = find_block(log, page / BLOCK_PAGES);
    *ret_first = page % BLOCK_PAGES;
    if (*count > BLOCK_PAGES - *ret_first)
        *count = BLOCK_PAGES - *ret_first;
    return block ? block->bits : NULL;
}

/* Moves bits from a log's to a report's. */
static void move_bits(uint8_t *from, uint64_t first, uint64_t count, uint8_t *to, uint64_t at)
{
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *byte = &from[(first + i) / 8];
        uint8_t bit = (uint8_t)(1u << (first + i) % 8);
        if (*byte & bit)
            to[(at + i) / 8] |= (uint8_t)(1u << (at + i) % 8);
        *byte &= (uint8_t)~bit;
    }
}

void dirty_report(struct dirty_log *log, uint64_t start, uint64_t len, uint8_t *ret_bits)
{
    uint64_t page = start / log->page, pages = len / log->page;
    memset(ret_bits, 0, (pages + 63) / 64 * 8);
    for (uint64_t at = 0; log->lost && at < pages; at++)
        ret_bits[at / 8] |= (uint8_t)(1u << at % 8);
    for (uint64_t at = 0, count; at < pages; at += count) {
        count = pages - at;
        uint64_t first = 0;
        uint8_t *bits = bits_of(log, page + at, &count, &first);
        if (bits)
            move_bits(bits, first, count, ret_bits, at);
    }
}
