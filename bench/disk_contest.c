// SPDX-License-Identifier: BSD-3-Clause
#include "disk_contest.h"

#include <stdlib.h>
#include <string.h>

const struct workload disk_workloads[DISK_WORKLOADS] = {
    {"random read, 4 KiB, depth 1", "randread", false, true, 4096, 1},
    {"random write, 4 KiB, depth 1", "randwrite", true, true, 4096, 1},
    {"random read, 4 KiB, depth 32", "randread", false, true, 4096, 32},
    {"random write, 4 KiB, depth 32", "randwrite", true, true, 4096, 32},
    {"sequential read, 128 KiB", "read", false, false, 131072, 32},
    {"sequential write, 128 KiB", "write", true, false, 131072, 32},
};

const char *const disk_mode_names[DISK_MODES] = {"polling", "blocking"};

void disk_contest_init(struct disk_contest *contest)
{
    *contest =
        (struct disk_contest){.rounds = 7, .seconds = 0.5, .processors = bench_two_processors()};
}

bool disk_contest_apply(struct disk_contest *contest, int option, const char *value)
{
    switch (option) {
    case 'd':
        contest->device = value;
        return true;
    case 'f':
        contest->path = value;
        return true;
    case 'r':
        contest->rounds = (unsigned)strtoul(value, NULL, 10);
        return contest->rounds >= 1 && contest->rounds <= DISK_ROUNDS_MAX;
    case 's':
        contest->seconds = strtod(value, NULL);
        return contest->seconds > 0;
    case 'p':
        if (strcmp(value, "any") == 0)
            contest->processors = (struct bench_processors){.client = -1, .server = -1};
        return strcmp(value, "any") == 0 || strcmp(value, "2") == 0;
    case 'o':
        contest->only = value;
        return true;
    default:
        return false;
    }
}

bool disk_contest_wants(const struct disk_contest *contest, const struct workload *workload)
{
    return !contest->only || strstr(workload->name, contest->only);
}
