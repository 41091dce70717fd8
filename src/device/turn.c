// SPDX-License-Identifier: BSD-3-Clause
/* The work of a device in each turn of the loop. A dormant device has nothing to do but to
 * end its requests in flight when it is asked to let go of memory. */
#include "device/internal.h"

bool device_poll(struct ob_device *device)
{
    const bool works = !device->dormant || device->quiescing;
    return works && device->ops.poll && device->ops.poll(device->state);
}

bool device_has_io_in_flight(const struct ob_device *device)
{
    return !device->dormant && device->ops.has_io_in_flight &&
           device->ops.has_io_in_flight(device->state);
}

bool device_has_deferred_work(const struct ob_device *device)
{
    return !device->dormant && device->ops.has_deferred_work &&
           device->ops.has_deferred_work(device->state);
}

bool device_before_sleep(struct ob_device *device)
{
    return !device->dormant && device->ops.before_sleep && device->ops.before_sleep(device->state);
}
