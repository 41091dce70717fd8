// SPDX-License-Identifier: BSD-3-Clause
/*
 * Kinds of log lines, each with a token bucket: a peer that provokes a line without end fills
 * nobody's disk. The kind of a line is its format, so that its values make no difference.
 */
#ifndef OUTBOARD_OS_LOG_KINDS_H
#define OUTBOARD_OS_LOG_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define LOG_SAMPLE_LEN 80

struct log_rate {
    unsigned burst;     /* lines at once */
    uint64_t refill_ns; /* one more after this long */
};

struct log_kind {
    uint64_t hash; /* of the format; 0: the slot is free */
    uint64_t refilled_ns;
    uint64_t refill_ns;
    unsigned tokens;
    uint64_t skipped;            /* lines since the last one that was printed */
    char sample[LOG_SAMPLE_LEN]; /* the beginning of the first of those */
};

struct log_kinds {
    struct log_kind kind[LIMIT_LOG_KINDS];
};

/* The kind of a format. It stays until a later call needs its slot; whose slot is taken is told by
 * `forgotten`, if it has skipped lines that nobody has been told of. */
struct log_kind *log_kinds_find(struct log_kinds *kinds, const char *format, struct log_rate rate,
                                uint64_t now_ns, struct log_kind *ret_forgotten);

/* Whether a line may be printed now; if not, it is counted. */
bool log_kind_take(struct log_kind *kind, struct log_rate rate, uint64_t now_ns, const char *text);

/* When the count of a kind is to be told, also if no further line of it comes; UINT64_MAX: never.
 */
uint64_t log_kind_due(const struct log_kind *kind);

/* "... and 23,990 more like this: SAMPLE". The count begins again. */
void log_kind_summary(struct log_kind *kind, char *ret_text, size_t size);

#endif
