// SPDX-License-Identifier: BSD-3-Clause
/*
 * include/outboard/wake.h: an eventfd that the device watches, and a flag that says whether it has
 * been written to, so that many signals cost one write.
 *
 * The serving thread drains the eventfd first and takes the flag next. A signal that finds the flag
 * set comes before it is taken, and its news is therefore seen in the call that follows;
 * one that finds it clear writes again. The eventfd outlives the device, for threads that still
 * signal.
 */
#include <outboard/wake.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "device/device.h"
#include "os/event.h"

struct ob_wake {
    struct device_ending ending; /* first: the device knows it by this */
    struct ob_device *device;    /* NULL: freed */
    int fd;
    atomic_bool signalled;
    ob_wake_fn woken;
    void *argument;
};

static void ready(void *argument, unsigned events)
{
    struct ob_wake *wake = argument;
    event_drain(wake->fd);
    if (atomic_exchange(&wake->signalled, false))
        wake->woken(wake->argument);
}

static void device_ended(struct device_ending *ending)
{
    struct ob_wake *wake = (struct ob_wake *)ending;
    ob_device_unwatch(wake->device, wake->fd);
    wake->device = NULL;
}

int ob_wake_new(struct ob_device *device, ob_wake_fn woken, void *argument,
                struct ob_wake **ret_wake, struct ob_fault *fault)
{
    if (!device || !woken || !ret_wake)
        return ob_fault_set(fault, -EINVAL, "ob_wake_new(): device, woken or ret_wake is NULL");
    struct ob_wake *wake = calloc(1, sizeof(*wake));
    if (!wake)
        return ob_fault_set(fault, -ENOMEM, "no memory for a wake-up");
    *wake =
        (struct ob_wake){.device = device, .fd = event_new(), .woken = woken, .argument = argument};
    int err =
        wake->fd < 0 ? wake->fd : ob_device_watch(device, wake->fd, OB_WATCH_READABLE, ready, wake);
    if (err < 0) {
        if (wake->fd >= 0)
            close(wake->fd);
        free(wake);
        return ob_fault_set(fault, err, "can't make a wake-up: %s", strerror(-err));
    }
    device_tell_of_end(device, &wake->ending, device_ended);
    *ret_wake = wake;
    return 0;
}

void ob_wake_signal(struct ob_wake *wake)
{
    const uint64_t one = 1;
    if (!wake || atomic_exchange(&wake->signalled, true))
        return;
    int kept = errno;
    ssize_t done =
        write(wake->fd, &one, sizeof(one)); /* ours: it doesn't block, and can't be full */
    (void)done;
    errno = kept;
}

void ob_wake_free(struct ob_wake *wake)
{
    if (!wake)
        return;
    if (wake->device) {
        device_forget_ending(&wake->ending);
        device_ended(&wake->ending);
    }
    close(wake->fd);
    free(wake);
}
