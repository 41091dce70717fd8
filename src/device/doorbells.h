// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doorbells: registers of which a write reaches the device by an eventfd that the VMM gives to KVM,
 * without a message. The eventfds are the device's own, new ones for every peer: one that has gone
 * may have left them to somebody who goes on ringing.
 */
#ifndef OUTBOARD_DEVICE_DOORBELLS_H
#define OUTBOARD_DEVICE_DOORBELLS_H

#include <outboard/device.h>

struct doorbell_line {
    struct ob_device *device;
    int fd;    /* -1: no doorbell has this number */
    bool used; /* by a peer, now or before */
};

struct doorbells {
    struct ob_doorbell *list;
    unsigned count;
    struct doorbell_line lines[OB_DOORBELL_NUMBERS];
};

/* Makes an eventfd for each number in use. -EINVAL with the fault filled, or another errno. */
int doorbells_init(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault);
void doorbells_done(struct ob_device *device);

/* Calls the device whenever an eventfd is signalled, until doorbells_unwatch(). To be called once a
 * peer. 0 or a negative errno. */
int doorbells_watch(struct ob_device *device);
void doorbells_unwatch(struct ob_device *device);

#endif
