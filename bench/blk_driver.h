// SPDX-License-Identifier: BSD-3-Clause
/*
 * A small front end of vhost-user with a virtio-blk driver on it: one split ring, requests of one
 * length in an indirect table each, event indices.
 *
 * It does what QEMU and Linux's driver do. It either polls the used ring and wants no interrupt, or
 * blocks until the interrupt.
 */
#ifndef OUTBOARD_BENCH_BLK_DRIVER_H
#define OUTBOARD_BENCH_BLK_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "workload.h"

struct blk_driver {
    int fd;          /* to the back end */
    uint8_t *memory; /* the guest's, from address 0 on */
    int memory_fd;
    int kick_fd;
    int call_fd;
    bool polls;
    uint16_t avail; /* indices, free-running */
    uint16_t told_avail;
    uint16_t used;
};

/* Takes over a connection with a back end, and starts its first ring. Ends the bench when something fails. */
void blk_driver_start(struct blk_driver *driver, int fd, bool polls);
void blk_driver_stop(struct blk_driver *driver);

/* What workload_drive() drives. */
struct workload_disk blk_driver_disk(struct blk_driver *driver);

#endif
