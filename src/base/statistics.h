// SPDX-License-Identifier: BSD-3-Clause
/*
 * Statistics: a page of counters that a device process writes and its supervisor reads.
 *
 * The supervisor makes the page, a sealed memfd, and passes it to the process with its number in
 * $OUTBOARD_STATISTICS_FD. One thread writes it. The supervisor never maps it, but reads a
 * copy with pread(2): a process that was taken over may write anything at any time.
 */
#ifndef OUTBOARD_BASE_STATISTICS_H
#define OUTBOARD_BASE_STATISTICS_H

#include <stdint.h>

#define STATISTICS_VARIABLE "OUTBOARD_STATISTICS_FD"
#define STATISTICS_MAGIC    UINT64_C(0x3154415453424f00) /* "\0OBSTAT1" */
#define STATISTICS_LEN      4096

/* Bucket i of a histogram counts times below STATISTICS_FIRST_NS << i; the last one all others. */
#define STATISTICS_BUCKETS  24
#define STATISTICS_FIRST_NS 256u

struct statistics_times {
    uint64_t sum_ns;
    uint64_t bucket[STATISTICS_BUCKETS];
};

struct statistics {
    uint64_t magic;
    uint64_t requests; /* messages of the VMM that were carried out */
    uint64_t bytes_in, bytes_out;
    uint64_t polls; /* looks at the socket that found nothing, without blocking */
    uint64_t wakes; /* messages that ended a block */
    uint64_t reads, bytes_read;
    uint64_t writes, bytes_written;
    uint64_t others;                  /* a flush, for example */
    struct statistics_times messages; /* from receiving messages to sending the replies */
    struct statistics_times io;       /* from a guest's request to its completion */
};

_Static_assert(sizeof(struct statistics) <= STATISTICS_LEN, "the statistics fit their page");

static inline unsigned statistics_bucket(uint64_t ns)
{
    unsigned bucket = 0;
    while (bucket < STATISTICS_BUCKETS - 1 && ns >= (uint64_t)STATISTICS_FIRST_NS << bucket)
        bucket++;
    return bucket;
}

/* There is one writer, so a plain sum does; the store is whole for a reader. */
static inline void statistics_add(uint64_t *counter, uint64_t number)
{
    __atomic_store_n(counter, *counter + number, __ATOMIC_RELAXED);
}

static inline void statistics_time(struct statistics_times *times, uint64_t ns)
{
    statistics_add(&times->bucket[statistics_bucket(ns)], 1);
    statistics_add(&times->sum_ns, ns);
}

#endif
