// SPDX-License-Identifier: BSD-3-Clause
/* Disk contest: the workloads and the options that the benches of disks have in common. */
#ifndef OUTBOARD_BENCH_DISK_CONTEST_H
#define OUTBOARD_BENCH_DISK_CONTEST_H

#include <getopt.h>
#include <stdbool.h>

#include "process.h"
#include "workload.h"

#define DISK_ROUNDS_MAX 100
#define DISK_WORKLOADS  6

extern const struct workload disk_workloads[DISK_WORKLOADS];

enum disk_mode {
    DISK_POLLING,
    DISK_BLOCKING,
    DISK_MODES,
};
extern const char *const disk_mode_names[DISK_MODES];

struct disk_contest {
    const char *device; /* the program */
    const char *path;   /* the image */
    unsigned rounds;
    double seconds;   /* of each measurement */
    const char *only; /* part of the workloads' names; NULL: all */
    struct bench_processors processors;
};

/* The values of getopt_long(3) are for disk_contest_apply(). */
#define DISK_CONTEST_OPTIONS                                                                       \
    {"device", required_argument, NULL, 'd'}, {"file", required_argument, NULL, 'f'},              \
        {"rounds", required_argument, NULL, 'r'}, {"seconds", required_argument, NULL, 's'},       \
        {"processors", required_argument, NULL, 'p'},                                              \
    {                                                                                              \
        "only", required_argument, NULL, 'o'                                                       \
    }

void disk_contest_init(struct disk_contest *contest);
/* False: the value is wrong, or it is no option of these. */
bool disk_contest_apply(struct disk_contest *contest, int option, const char *value);
bool disk_contest_wants(const struct disk_contest *contest, const struct workload *workload);

#endif
