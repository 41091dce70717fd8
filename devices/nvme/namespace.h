// SPDX-License-Identifier: BSD-3-Clause
/*
 * Namespaces: the controller's disks. Namespace n is the n-th image; all are active for the life of
 * the controller. An image whose size has changed is a changed namespace, which the guest learns
 * from an asynchronous event and log page 4. The watchdog looks after that (watchdog.h).
 */
#ifndef OUTBOARD_DEVICES_NVME_NAMESPACE_H
#define OUTBOARD_DEVICES_NVME_NAMESPACE_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "block/block.h"
#include "bounds.h"

struct nvme;

struct nvme_namespace {
    uint32_t id;
    struct block *block;
    unsigned block_shift; /* 9 or 12 */
    uint64_t blocks;
    uint8_t uuid[16];
    bool changed; /* since the guest read log page 4 */
    bool late;    /* no answer for longer than the time-out */
    struct block_silence silence;
    struct block_io shutdown_flush;
};

struct nvme_namespaces {
    struct nvme_namespace list[NVME_NAMESPACES];
    unsigned count;
};

/* The namespace of an id, or NULL. */
struct nvme_namespace *namespace_find(struct nvme *nvme, uint32_t id);
/* Whether the blocks exist; slba + count may wrap. */
bool namespace_has(const struct nvme_namespace *ns, uint64_t slba, uint64_t count);

/* Watches all back ends. 0 or a negative errno. */
int namespaces_watch(struct nvme *nvme);
void namespaces_reset(struct nvme *nvme);
/* Closes all images. */
void namespaces_done(struct nvme *nvme);

/* Hands an operation to the namespace's back end; it is in flight from then on... */
void namespace_start(struct nvme *nvme, struct nvme_namespace *ns, struct block_io *io);
/* ...until its done() says so here. */
void namespace_ended(struct nvme *nvme);

/* struct block_ops, for all of them. */
void namespaces_restart(struct nvme *nvme);
/* The VM has gone: images let go of files and connections that others may wait for. */
void namespaces_rest(struct nvme *nvme);
bool namespaces_submit(struct nvme *nvme);
void namespaces_reap(struct nvme *nvme);

#endif
