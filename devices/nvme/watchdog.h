// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watchdog: looks at all images every second or so, whether they answer and whether their size has
 * changed.
 *
 * Time is looked at by its timer alone: a back end's answers are measured by it. If no answer
 * has come for the time-out, the operations in flight are given up, where the back end can do that. Where
 * it can't, as the kernel may write to the guest's memory until it is through, the operations stay
 * in flight, and the namespace is `late` until the next answer.
 */
#ifndef OUTBOARD_DEVICES_NVME_WATCHDOG_H
#define OUTBOARD_DEVICES_NVME_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/timer.h>

#include "namespace.h"

struct nvme_watchdog {
    struct ob_timer *timer; /* NULL: none yet */
    unsigned timeout_ms;
    uint64_t now_ms; /* when the timer was last looked at */
};

/* Makes the timer. 0 or a negative errno. */
int watchdog_init(struct nvme *nvme);
void watchdog_done(struct nvme *nvme);
/* The timer is only needed while the controller is on. */
void watchdog_run(struct nvme *nvme, bool on);

/* The first namespace that is late, or NULL. */
const struct nvme_namespace *watchdog_late(const struct nvme *nvme);
/* Tells the guest that the namespace has another size. */
void watchdog_tell_changed(struct nvme *nvme, struct nvme_namespace *ns);

#endif
