// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk made of memory, whose operations end when the test says so. It checks what a back end may
 * rely on: ranges that lie on the disk, and data of just the length that was named.
 */
#ifndef OUTBOARD_TESTS_FAKE_DISK_H
#define OUTBOARD_TESTS_FAKE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"

#define FAKE_DISK_LEN     0x10000u
#define FAKE_DISK_PENDING 1024u

struct fake_disk {
    struct block block;
    uint8_t data[FAKE_DISK_LEN];
    bool holds;         /* operations wait for fake_disk_finish(); else they end by themselves */
    bool hangs;         /* ...and nothing else ends them */
    unsigned flushes;   /* ended well */
    unsigned fua_count; /* writes with BLOCK_FUA, begun */
    bool closed;
    uint64_t new_size; /* for resized(); 0: as before */
    struct block_io *pending[FAKE_DISK_PENDING];
    unsigned pending_count;
};

/* Every byte of the disk is fill. */
void fake_disk_init(struct fake_disk *fake, uint8_t fill);
/* Ends the pending operation of that number, modulo how many there are. */
void fake_disk_finish(struct fake_disk *fake, unsigned index, int err);
/* Ends all of them well, unless the disk hangs. */
void fake_disk_finish_all(struct fake_disk *fake);

#endif
