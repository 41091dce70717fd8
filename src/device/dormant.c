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

bool device_is_stopped(const struct ob_device *device)
{
    return device->stopped;
}

void device_quiesce(struct ob_device *device)
{
    if (!device->quiescing && device->ops.quiesce)
        device->ops.quiesce(device->state);
    device->quiescing = true;
}

bool device_is_quiet(struct ob_device *device)
{
    if (device->quiescing && device->ops.quiesced)
        device->quiescing = device->ops.quiesced(device->state) == 0;
    else
        device->quiescing = false;
    return !device->quiescing;
}

bool device_leave(struct ob_device *device)
{
    if (!device->leaving)
        device_quiesce(device);
    device->leaving = true;
    return device_is_quiet(device);
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
