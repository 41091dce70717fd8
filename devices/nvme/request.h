// SPDX-License-Identifier: BSD-3-Clause
/*
 * Request: a command from the moment it is fetched until its completion is posted.
 *
 * All requests are allocated with the controller. There are two kinds: those of the admin queue,
 * and those of I/O queues, which have room for the data's place in guest memory. A queue is only
 * fetched from while a request of its kind is free. A finished request waits in its completion
 * queue's list until an entry is free there.
 *
 * A request may be parked: it is then as if it had just been fetched, holds nothing, and is carried
 * out from its start when its time has come. That is where commands wait whose back end is away,
 * and those that a paused controller has not finished, or that had to let go of the guest's memory;
 * the part that was done is done again, which for every command is the same as once.
 */
#ifndef OUTBOARD_DEVICES_NVME_REQUEST_H
#define OUTBOARD_DEVICES_NVME_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/dma.h>

#include "block/block.h"
#include "bounds.h"
#include "spec.h"

struct nvme;
struct nvme_sq;
struct nvme_namespace;

/* A submission queue entry, section 4.2. */
struct nvme_command {
    uint8_t opcode;
    uint8_t fuse; /* 0: not fused */
    uint8_t psdt; /* 0: PRPs */
    uint16_t id;
    uint32_t nsid;
    uint64_t prp1;
    uint64_t prp2;
    uint32_t dword[16]; /* 10 to 15 are used */
};

/* Blocks of a Dataset Management range. */
struct nvme_range {
    uint64_t slba;
    uint32_t count;
};

/* The data of an I/O command. */
struct nvme_transfer {
    union {
        struct {
            struct ob_dma_span spans[NVME_SPANS];
            struct iovec iov[NVME_SPANS];
        };
        struct nvme_range ranges[NVME_DATASET_RANGES];
    };
    unsigned span_count;
    unsigned range_count;
    unsigned next_range;
};

struct nvme_request {
    struct nvme_request *next; /* in the list that it is in */
    struct nvme *nvme;
    struct nvme_sq *sq;
    struct nvme_command command;
    uint64_t since_ms; /* when it was fetched, or parked */
    uint64_t since_ns; /* when it was fetched, if somebody counts */
    bool was_parked;
    unsigned answers; /* of its image, when it was parked */
    uint16_t status;  /* enum nvme_status */
    uint32_t result;  /* dword 0 of the completion */
    struct nvme_namespace *ns;
    struct nvme_transfer *transfer; /* NULL: an admin request */
    struct block_io io;
};

struct nvme_requests {
    struct nvme_request *all; /* admin ones first */
    struct nvme_transfer *transfers;
    struct nvme_request *free_admin;
    struct nvme_request *free_io;
    struct nvme_request *parked; /* oldest first */
    struct nvme_request **parked_end;
    unsigned
        turnover; /* steps of commands that a successor must know of: fetched, finished, posted */
    unsigned in_flight; /* operations of back ends, those without a request included */
};

/* 0 or -ENOMEM. */
int requests_init(struct nvme *nvme);
void requests_done(struct nvme *nvme);
/* Forgets the content of every request. Nothing may be in flight. */
void requests_reset(struct nvme *nvme);

/* A request for the next command of a queue, or NULL when all of its kind are in use. */
struct nvme_request *request_new(struct nvme *nvme, struct nvme_sq *sq);
void request_free(struct nvme_request *request);

/* Has the command carried out later. */
void request_park(struct nvme_request *request);
/* Takes out all that is parked: a list, the oldest first. */
struct nvme_request *requests_unpark(struct nvme *nvme);
/* Has them wait from now on: time in which nothing could be done does not count. */
void requests_renew_parked(struct nvme *nvme);

#endif
