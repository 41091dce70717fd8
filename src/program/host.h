// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server_host of device programs: answers requests of devices and engines with system calls.
 *
 * ob_device_new() makes one host per device. It gets the loop that descriptors are watched on when
 * the device is served.
 */
#ifndef OUTBOARD_PROGRAM_HOST_H
#define OUTBOARD_PROGRAM_HOST_H

#include <outboard/device.h>

#include "os/loop.h"
#include "program/device_timers.h"
#include "program/trace.h"

/* From now on the device's descriptors are watched on this loop, or, with NULL, not at all. Returns
 * 0, -EBUSY when they are watched on a loop already, or the errno of one that can't be. */
int program_host_use_loop(struct ob_device *device, struct loop *loop);

/* The timers of the device, which last as long as it. */
struct device_timers *program_host_timers(struct ob_device *device);

/* Where events of the device are traced while device_trace() says so. The trace stays the caller's. */
void program_host_trace(struct ob_device *device, struct trace *trace);

#endif
