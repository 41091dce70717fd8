// SPDX-License-Identifier: BSD-3-Clause
/* What a disk is asked, by our client or by fio. */
#ifndef OUTBOARD_BENCH_WORKLOAD_H
#define OUTBOARD_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "nvme_driver.h"

/* Of the image, bytes. */
#define BENCH_FILE_LEN (UINT64_C(256) << 20)

struct workload {
    const char *name;
    const char *pattern; /* as fio calls it */
    enum nvme_driver_op op;
    bool random;
    uint32_t len;
    unsigned depth;
};

/* Keeps the depth of requests in flight for so long. Returns operations a second. */
double workload_drive(const struct workload *workload, struct nvme_driver *driver, double seconds);

/* Makes the image, without holes. Ends the bench when that fails. */
void workload_make_file(const char *path);

#endif
