// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_OS_CLOCK_H
#define OUTBOARD_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds of a clock that only runs forward. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
