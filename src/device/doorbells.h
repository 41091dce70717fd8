// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doorbells: registers of which a write reaches the device by an eventfd that the VMM gives to KVM,
 * without a message. The eventfds are the device's own, new ones for every peer: one that has gone
 * may have left them to somebody who goes on ringing.
 */
#ifndef OUTBOARD_DEVICE_DOORBELLS_H
#define OUTBOARD_DEVICE_DOORBELLS_H

#include <outboard/device.h>

/* The doorbells of the description. */
const struct ob_doorbell *doorbells_list(const struct ob_device *device, unsigned *ret_count);
/* The eventfd of a number that a doorbell has; it stays the device's. */
int doorbells_fd(const struct ob_device *device, unsigned number);

/* Calls the device whenever an eventfd is signalled, until doorbells_unwatch(). To be called once a
 * peer. 0 or a negative errno. */
int doorbells_watch(struct ob_device *device);
void doorbells_unwatch(struct ob_device *device);

#endif
