// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a bench says of many rounds.
 *
 * Rounds of what is measured and of what it is compared with follow one another, and each round
 * gives a ratio: what slows the machine for a while slows both, and the median forgets the rounds
 * that something disturbed.
 */
#ifndef OUTBOARD_BENCH_STATISTICS_H
#define OUTBOARD_BENCH_STATISTICS_H

#include <stdlib.h>
#include <string.h>

static inline int statistics_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median of count values, which it sorts. */
static inline double statistics_median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), statistics_compare);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* The median of the quotients of two rows of measurements made in the same rounds. */
static inline double statistics_median_ratio(const double *dividends, const double *divisors,
                                             double *scratch, size_t count)
{
    for (size_t i = 0; i < count; i++)
        scratch[i] = dividends[i] / divisors[i];
    return statistics_median(scratch, count);
}

#endif
