// SPDX-License-Identifier: BSD-3-Clause
/* What a disk is asked, by our client or by fio. */
#ifndef OUTBOARD_BENCH_WORKLOAD_H
#define OUTBOARD_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

/* Of the image, bytes. */
#define BENCH_FILE_LEN (UINT64_C(256) << 20)

#define WORKLOAD_DEPTH 64u /* requests at a time, at most */

struct workload {
    const char *name;
    const char *pattern; /* as fio calls it */
    bool writes;
    bool random;
    uint32_t len;
    unsigned depth;
};

/* A driver and its disk. */
struct workload_disk {
    void *context;
    bool polls; /* for the end of a request */
    /* Prepares a request; the slot, below WORKLOAD_DEPTH, names it. offset, len: whole blocks, bytes. */
    void (*put)(void *context, bool write, unsigned slot, uint64_t offset, uint32_t len);
    /* Tells the device of all that was put. */
    void (*ring)(void *context);
    /* Waits until something has ended. Returns how many requests have, max at most, and their slots. */
    unsigned (*wait)(void *context, unsigned *ret_slots, unsigned max);
};

/* Keeps the depth of requests in flight for so long. Returns operations a second. */
double workload_drive(const struct workload *workload, const struct workload_disk *disk,
                      double seconds);

/* Makes the image, without holes. Ends the bench when that fails. */
void workload_make_file(const char *path);
/* Takes the image from the page cache. Direct writes to cached blocks take another way, and the first
 * measurement would clear them for the others. */
void workload_empty_cache(const char *path);

#endif
