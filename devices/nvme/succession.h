// SPDX-License-Identifier: BSD-3-Clause
/*
 * Succession: how another process continues when this one has died, if there is a vault.
 *
 * The controller is committed as state.c writes it, with the commands that are at an image as
 * unfinished ones: the successor carries them out from their start. Intent comes first: a completion
 * is committed as finished before it is written to the guest's memory. The successor writes the same
 * entries to the same places once more, and never does such a command again. A command whose
 * completion the guest may have seen is therefore never repeated, and its buffer is the guest's.
 *
 * Requests of the dead process may still be on their way to an image. Until the image's barrier says
 * that none is, the successor serves registers alone: it fetches nothing and starts nothing.
 */
#ifndef OUTBOARD_DEVICES_NVME_SUCCESSION_H
#define OUTBOARD_DEVICES_NVME_SUCCESSION_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/timer.h>

struct nvme;

struct nvme_succession {
    bool kept;  /* there is a vault: completions are posted by succession_post() alone */
    bool waits; /* for the images' barriers */
    bool told;  /* that it waits */
    uint64_t since_ms;
    unsigned committed; /* turnover of the last commit */
    struct ob_timer *timer;
    uint8_t *bytes;
};

/* The last step of making a controller. 0 or a negative errno. */
int succession_init(struct nvme *nvme);
void succession_done(struct nvme *nvme);

/* Commits the controller, if there is a vault, and posts completions. */
void succession_post(struct nvme *nvme);

#endif
