// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server_host of device programs: answers what devices and engines ask with system calls.
 *
 * ob_device_new() makes one host per device. It gets the loop that eventfds are watched on when the
 * device is served.
 */
#ifndef OUTBOARD_SERVICE_HOST_H
#define OUTBOARD_SERVICE_HOST_H

#include <outboard/device.h>

#include "os/loop.h"

/* From now on the device's eventfds are watched on this loop. */
void service_host_use_loop(struct ob_device *device, struct loop *loop);

#endif
