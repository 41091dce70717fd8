// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doorbells: registers of which a write reaches the device by an eventfd that the VMM gives to KVM,
 * without a message. The eventfds are the device's own, new ones for every peer: one that has gone
 * may have left them to somebody who continues to ring. They are made when an engine asks for them,
 * so that a device with thousands of doorbells costs only what its peer uses.
 */
#ifndef OUTBOARD_DEVICE_DOORBELLS_H
#define OUTBOARD_DEVICE_DOORBELLS_H

#include <outboard/device.h>

/* The doorbells of the description. */
const struct ob_doorbell *doorbells_list(const struct ob_device *device, unsigned *ret_count);
/* The eventfd of a number that a doorbell has, for this peer: made, and watched, when it is first
 * asked for. It stays the device's, until the peer has gone. Or a negative errno. */
int doorbells_fd(struct ob_device *device, unsigned number);

#endif
