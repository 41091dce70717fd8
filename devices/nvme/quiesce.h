// SPDX-License-Identifier: BSD-3-Clause
/*
 * Quiesce: the controller lets go of guest memory because the VMM takes it back, resets the
 * function, or has gone. Meanwhile no command is fetched, and poll() ends the requests in flight. After
 * BLOCK_DRAIN_MS that is over: operations that can't be called back stay in flight (backends/block/block.h).
 */
#ifndef OUTBOARD_DEVICES_NVME_QUIESCE_H
#define OUTBOARD_DEVICES_NVME_QUIESCE_H

#include <stdbool.h>

#include <outboard/timer.h>

#include "block/block.h"
#include "bounds.h"

struct nvme;

struct nvme_quiesce {
    bool on;
    struct ob_timer *timer;
    struct block *blocks[NVME_NAMESPACES];
    struct block_drain drain;
};

/* Makes the timer. 0 or a negative errno. */
int quiesce_init(struct nvme *nvme);
void quiesce_done(struct nvme *nvme);

void quiesce_begin(struct nvme *nvme);
/* To be called by poll(): whether it is over, which has not been asked for yet. */
bool quiesce_poll(struct nvme *nvme);
/* As ob_device_ops.quiesced(). Once it is not 0 the controller runs on. */
int quiesce_ask(struct nvme *nvme);
/* The controller runs on, whatever is in flight. */
void quiesce_end(struct nvme *nvme);

#endif
