// SPDX-License-Identifier: BSD-3-Clause
/* Times of a device without a process: from a death, or a stop, to READY of the next process. */
#ifndef OUTBOARD_SUPERVISOR_GAPS_H
#define OUTBOARD_SUPERVISOR_GAPS_H

#include <stdint.h>

struct gaps {
    unsigned count;    /* restarts */
    uint64_t since_ns; /* of the gap that lasts; 0: none does */
    uint64_t longest_ns, total_ns;
};

static inline void gaps_end(struct gaps *gaps, uint64_t now_ns)
{
    uint64_t ns = gaps->since_ns ? now_ns - gaps->since_ns : 0;
    gaps->since_ns = 0;
    gaps->total_ns += ns;
    gaps->longest_ns = ns > gaps->longest_ns ? ns : gaps->longest_ns;
}

#endif
