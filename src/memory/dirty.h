// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dirty log: which pages of guest memory the device has written, for a VMM that copies the memory
 * of a running VM elsewhere.
 *
 * The VMM names ranges and a page size; a bit per page is set when the device writes there and
 * cleared when the VMM is told. A range that a device has mapped to write to counts as written when it is
 * mapped and again when it is given back.
 *
 * A VMM that names no range means all memory, ranges that it maps later included. The bits of that are in
 * blocks of LIMIT_DIRTY_BLOCK_PAGES pages, each made when the device first writes there, so that
 * the log need not know the mappings. When no block can be made for a write, the log has lost its
 * track and says from then on that everything was written, which costs the VMM copies and no data.
 */
#ifndef OUTBOARD_MEMORY_DIRTY_H
#define OUTBOARD_MEMORY_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct dirty_range {
    uint64_t start; /* guest address */
    uint64_t len;   /* bytes */
    uint8_t *bits;
};

struct dirty_log {
    uint64_t page; /* bytes, a power of two; 0: nothing is logged */
    bool all;      /* memory, not only the ranges */
    bool lost;     /* its track: everything counts as written */
    unsigned count;
    struct dirty_range ranges[LIMIT_DIRTY_RANGES];
    void *blocks; /* of all memory: tsearch(3) of struct dirty_block */
    unsigned num_blocks;
    uint8_t *shared;     /* the VMM's own bits, which it reads and clears at any time; NULL: none */
    uint64_t shared_len; /* bytes */
};

/* Starts a log over these ranges (bits are not looked at), or over all memory without ranges.
 * -EBUSY when one is on; -EINVAL for a page that is no power of two of at least 4096, a range that
 * is empty, not whole pages, wraps or overlaps another; -E2BIG for more ranges or pages than the
 * limits; -ENOMEM. */
int dirty_start(struct dirty_log *log, uint64_t page, const struct dirty_range *ranges,
                unsigned count);
void dirty_stop(struct dirty_log *log);

/* Marks in bits of the VMM's too, of pages of 4096 bytes from address 0: by atomic operations, and
 * nothing beyond their end. The caller keeps them mapped until he gives others, or NULL. */
void dirty_share(struct dirty_log *log, uint8_t *bits, uint64_t len);

/* The device has written there. */
void dirty_mark(struct dirty_log *log, uint64_t start, uint64_t len);

/* The device may have written anywhere in the log's ranges; of all memory the log loses its track. */
void dirty_mark_everything(struct dirty_log *log);

/* Bytes of the report about a range, whole words of eight bytes; -EINVAL when the page size is not
 * the log's, or the range is not whole pages of the log. */
int64_t dirty_report_len(const struct dirty_log *log, uint64_t page, uint64_t start, uint64_t len);
/* Writes the report, as long as dirty_report_len() says, and clears the pages that it tells. */
void dirty_report(struct dirty_log *log, uint64_t start, uint64_t len, uint8_t *ret_bits);

#endif
