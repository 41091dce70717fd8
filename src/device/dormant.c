// SPDX-License-Identifier: BSD-3-Clause
/* When a device is dormant, paused, or works: device.h tells the story. */
#include "device/internal.h"

static void update_pause(struct ob_device *device)
{
    const bool pauses = device->stopped || device->draining;
    if (device->paused == pauses || (device->dormant && !pauses))
        return;
    device->paused = pauses;
    if (device->ops.pause)
        device->ops.pause(device->state, device->paused);
}

void device_pause(struct ob_device *device, bool paused)
{
    device->stopped = paused;
    update_pause(device);
}

void device_drain(struct ob_device *device, bool drains)
{
    device->draining = drains;
    update_pause(device);
}

int device_is_drained(struct ob_device *device, struct ob_fault *fault)
{
    const struct device_messenger *messenger = device->messenger;
    int rests = device_at_rest(device, fault);
    return rests > 0 && messenger && !messenger->is_idle(messenger->context) ? 0 : rests;
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
