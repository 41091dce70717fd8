// SPDX-License-Identifier: BSD-3-Clause
/* What the loop asks of a device in each of its turns. A dormant device has nothing to do. */
#include "device/internal.h"

bool device_poll(struct ob_device *device)
{
    return !device->dormant && device->ops.poll && device->ops.poll(device->state);
}

bool device_waits(const struct ob_device *device)
{
    return !device->dormant && device->ops.waits && device->ops.waits(device->state);
}

bool device_holds(const struct ob_device *device)
{
    return !device->dormant && device->ops.holds && device->ops.holds(device->state);
}

bool device_listen(struct ob_device *device)
{
    return !device->dormant && device->ops.listen && device->ops.listen(device->state);
}
