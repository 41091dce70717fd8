// SPDX-License-Identifier: BSD-3-Clause
/* The work of a device between two looks at its counters, for `outboard top`. */
#ifndef OUTBOARD_PROGRAMS_TOP_RATES_H
#define OUTBOARD_PROGRAMS_TOP_RATES_H

#include <stdint.h>

#include "base/statistics.h"
#include "wire/json.h"

#define TOP_NAME_MAX 64

struct top_sample {
    char device[TOP_NAME_MAX]; /* printable */
    uint64_t requests, reads, bytes_read, writes, bytes_written, polls, wakes;
    uint64_t times[STATISTICS_BUCKETS]; /* of I/O; of messages, if the device counts no I/O */
};

/* From a row of the answer of stats. */
void top_sample_read(const struct json *row, struct top_sample *ret_sample);

/* Keeps the difference to an earlier sample of the same device. A counter that has gone back, since the
 * device was started again, counts from 0. */
void top_sample_subtract(struct top_sample *sample, const struct top_sample *earlier);

/* The time below which this percentage of the times lies, ns; 0: no time was counted. */
uint64_t top_percentile(const struct top_sample *difference, unsigned percent);

/* A number of at most 5 characters: 999, 1.2k, 34M. `room` has 8 bytes. */
const char *top_number(double number, char *room);
/* Likewise a time: 512ns, 1.0us. */
const char *top_time(uint64_t ns, char *room);

#endif
