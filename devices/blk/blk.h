// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtio block device (virtio 1.2, section 5.2): one image, any number of queues.
 *
 * Each chain of a queue becomes a struct blk_request (request.c), whose data the image reads and
 * writes in the guest's memory. Requests of all queues share the image and a pool. This file's half,
 * blk.c, is the device: configuration, time, and requests of the VMM.
 */
#ifndef OUTBOARD_DEVICES_BLK_BLK_H
#define OUTBOARD_DEVICES_BLK_BLK_H

#include <sys/uio.h>

#include <outboard/timer.h>
#include <outboard/virtio.h>

#include "block/block.h"
#include "bounds.h"

struct blk;

struct blk_request {
    struct blk *blk;
    struct ob_virtio_chain *chain; /* NULL: given back, though the image is still at it */
    struct blk_request *next;      /* free, or parked */
    uint64_t since_ms;
    uint32_t type;         /* VIRTIO_BLK_T_* */
    bool hurries;          /* its queue waits for it, with the time limit of a drain */
    unsigned segment;      /* that is under way, of... */
    unsigned num_segments; /* ...this number, of discard and write zeroes */
    uint8_t segments[BLK_SEGMENTS * BLK_SEGMENT_LEN]; /* copied from the guest */
    struct block_io io;
    struct iovec iov[BLK_IOVECS];
};

struct blk_queue {
    bool starved;       /* there was no free request when it was looked at */
    bool lets_go;       /* chains are given back as soon as they can be */
    unsigned in_flight; /* chains that the device has */
    unsigned stopped;   /* chains that were given back because their operations were stopped */
};

/* Another process of the device has died; succession.c. */
struct blk_succession {
    bool waits; /* its requests may be in flight: nothing is started */
    bool told;
    uint64_t since_ms;
    struct ob_timer *timer;
    uint32_t writeback; /* for the vault */
};

struct blk {
    struct ob_device *device;
    struct block *block;
    struct blk_queue queues[BLK_QUEUES];
    unsigned num_queues;
    struct blk_request *all;
    struct blk_request *free;
    struct blk_request *parked; /* to be started when the image is there again, oldest first */
    unsigned in_flight;         /* operations that the image has */
    unsigned hurried;           /* requests that hurry */
    unsigned turnover;          /* requests that were begun or ended, ever */
    unsigned seen_turnover;
    struct block_silence silence;
    struct block_drain drain;
    struct ob_timer *look_timer; /* size, silence */
    struct ob_timer *drain_timer;
    unsigned timeout_ms;
    uint32_t block_size;
    uint64_t features; /* that the driver has accepted */
    bool writeback;
    struct blk_succession succession;
    bool late;   /* the image was reported to be silent */
    bool paused; /* by the VMM */
    char serial[BLK_SERIAL_LEN + 1];
};

struct blk_options {
    struct block *block;
    uint32_t block_size; /* 512 or 4096 */
    const char *serial;
    unsigned num_queues; /* 1 to BLK_QUEUES */
    unsigned queue_size; /* a power of two, 4 to BLK_QUEUE_SIZE */
    unsigned timeout_ms; /* BLOCK_TIMEOUT_MIN_MS to _MAX_MS */
};

/* Makes the device and takes the image over. 0, or a negative errno with the fault filled; then the
 * image stays the caller's. */
int blk_new(const struct blk_options *options, struct blk **ret_blk, struct ob_device **ret_device,
            struct ob_fault *fault);
/* Closes the image. The device is freed already. An image with operations in flight is never
 * freed: the program must end then. */
void blk_free(struct blk *blk);

/* succession.c */
/* The last step of making a device. 0 or a negative errno. */
int blk_succession_init(struct blk *blk);

/* request.c */
/* 0 or -ENOMEM. */
int blk_requests_init(struct blk *blk);
/* Takes chains of a queue and begins them. Whether there may be more. */
bool blk_requests_take(struct blk *blk, unsigned queue);
/* Begins parked requests again, if the image is there. */
void blk_requests_retry(struct blk *blk);
/* Ends parked requests with an error that have waited for longer than the time-out. */
void blk_requests_expire(struct blk *blk, uint64_t now_ms);
/* Gives parked chains of a queue back unused. */
void blk_requests_return(struct blk *blk, unsigned queue);
/* Gives chains of queues that let go back with an error, and those of requests that hurry, though the
 * image is still at them. */
void blk_requests_abandon(struct blk *blk);

#endif
