// SPDX-License-Identifier: BSD-3-Clause
/* When a device is dormant, paused, or works: device.h tells the story. */
#include "device/internal.h"

static void update_pause(struct ob_device *device)
{
    if (device->paused == device->stopped || (device->dormant && !device->stopped))
        return;
    device->paused = device->stopped;
    if (device->ops.pause)
        device->ops.pause(device->state, device->paused);
}

void device_pause(struct ob_device *device, bool paused)
{
    device->stopped = paused;
    update_pause(device);
}

int device_at_rest(struct ob_device *device, struct ob_fault *fault)
{
    return device->ops.at_rest ? device->ops.at_rest(device->state, fault) : 1;
}

void device_wake(struct ob_device *device)
{
    if (!device->dormant)
        return;
    device->dormant = false;
    update_pause(device);
    irqs_wake(device);
}
