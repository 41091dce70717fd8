// SPDX-License-Identifier: BSD-3-Clause
#include "memory/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST_PAGE 4096u

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
    if (page < SMALLEST_PAGE || page & (page - 1) || count == 0)
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
    log->page = 0;
}

/* Marks what of [start, last] lies in a range. */
static void mark(const struct dirty_range *range, uint64_t page, uint64_t start, uint64_t last)
{
    uint64_t end = range->start + (range->len - 1);
    uint64_t from = start > range->start ? start : range->start;
    uint64_t to = last < end ? last : end;
    for (uint64_t bit = (from - range->start) / page;
         from <= to && bit <= (to - range->start) / page; bit++)
        range->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

void dirty_mark(struct dirty_log *log, uint64_t start, uint64_t len)
{
    for (unsigned i = 0; len > 0 && i < log->count; i++)
        mark(&log->ranges[i], log->page, start, start + (len - 1));
}

static const struct dirty_range *find(const struct dirty_log *log, uint64_t start, uint64_t len)
{
    for (unsigned i = 0; i < log->count; i++)
        if (contains(&log->ranges[i], start, len))
            return &log->ranges[i];
    return NULL;
}

int64_t dirty_report_len(const struct dirty_log *log, uint64_t page, uint64_t start, uint64_t len)
{
    if (!log->page || page != log->page || len == 0 || (start | len) & (page - 1) ||
        !find(log, start, len))
        return -EINVAL;
    return (int64_t)((len / page + 63) / 64 * 8);
}

void dirty_report(struct dirty_log *log, uint64_t start, uint64_t len, uint8_t *ret_bits)
{
    const struct dirty_range *range = find(log, start, len);
    uint64_t first = (start - range->start) / log->page, count = len / log->page;
    memset(ret_bits, 0, (count + 63) / 64 * 8);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *byte = &range->bits[(first + i) / 8];
        uint8_t bit = (uint8_t)(1u << (first + i) % 8);
        if (*byte & bit)
            ret_bits[i / 8] |= (uint8_t)(1u << i % 8);
        *byte &= (uint8_t)~bit;
    }
}
