// SPDX-License-Identifier: BSD-3-Clause
/*
 * Operations on a block, one at a time in each of several areas of the image, so that what an area
 * must hold when they have ended is known whatever the order.
 *
 * What must hold: each operation ends exactly once, and never within start(); data that was read is
 * what the image has, data that was written is there; -EAGAIN is only said by a block that is away
 * or was stopped. Buffers are freed when their operation ends, so that a back end that goes on to
 * use one is found.
 */
#ifndef OUTBOARD_FUZZ_BLOCK_MODEL_H
#define OUTBOARD_FUZZ_BLOCK_MODEL_H

#include <stddef.h>

#include "block/block.h"

#define MODEL_AREAS    8u
#define MODEL_AREA_LEN 0x8000u
#define MODEL_LEN      (MODEL_AREAS * MODEL_AREA_LEN)
#define MODEL_SECTOR   512u

struct model_area {
    struct block_io io;
    struct iovec iov[4];
    uint8_t *buffer;
    bool is_busy;
};

struct model {
    struct block *block;
    uint8_t *image; /* MODEL_LEN bytes, which the back end writes to */
    struct model_area areas[MODEL_AREAS];
    bool is_starting;
    unsigned ended;
    unsigned failed; /* of them */
};

/* For block_ops.watch(): a device that wants nothing, in a world where nothing happens by itself.
 */
struct ob_device *model_device_new(void);

void model_init(struct model *model, struct block *block, uint8_t *image);
/* Starts what the bytes say, unless the area is busy. */
void model_start(struct model *model, const uint8_t bytes[4]);
unsigned model_busy(const struct model *model);

#endif
