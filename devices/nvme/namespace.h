// SPDX-License-Identifier: BSD-3-Clause
/*
 * Namespaces: the controller's disks. Namespace n is the n-th image; all are active for the life of
 * the controller. An image whose size has changed is a changed namespace, which the guest learns
 * from an asynchronous event and log page 4.
 *
 * Time is looked at by a timer alone, every second or so: it is what a back end's answers are
 * measured by. If none has come for the time-out, what is in flight is given up, where the back end
 * can do that. Where it can't, as the kernel may write to the guest's memory until it is through,
 * the operations stay in flight, and the namespace is `late` until the next answer.
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
    int timer_fd; /* -1: none yet */
    unsigned timeout_ms;
    uint64_t now_ms; /* when the timer was last looked at */
};

/* The namespace of an id, or NULL. */
struct nvme_namespace *namespace_find(struct nvme *nvme, uint32_t id);
/* Tells the guest that it has another size. */
void namespace_changed(struct nvme *nvme, struct nvme_namespace *ns);
/* Whether the blocks exist; slba + count may wrap. */
bool namespace_has(const struct nvme_namespace *ns, uint64_t slba, uint64_t count);

/* Watches all back ends, and the timer. 0 or a negative errno. */
int namespaces_watch(struct nvme *nvme);
/* The timer is only needed while the controller is on. */
void namespaces_run_timer(struct nvme *nvme, bool on);
void namespaces_reset(struct nvme *nvme);
/* Closes all images. */
void namespaces_done(struct nvme *nvme);

/* Hands an operation to the namespace's back end; it is in flight from then on... */
void namespace_start(struct nvme *nvme, struct nvme_namespace *ns, struct block_io *io);
/* ...until its done() says so here. */
void namespace_ended(struct nvme *nvme);

/* struct block_ops, for all of them. */
void namespaces_restart(struct nvme *nvme);
/* The VM has gone: images let go of what others may be waiting for. */
void namespaces_rest(struct nvme *nvme);
bool namespaces_submit(struct nvme *nvme);
void namespaces_reap(struct nvme *nvme);
/* Waits until nothing is in flight in any back end, NVME_DRAIN_MS at most. */
void namespaces_drain(struct nvme *nvme);
/* The first namespace that is late, or NULL. */
const struct nvme_namespace *namespaces_late(const struct nvme *nvme);

#endif
