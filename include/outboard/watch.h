// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watch: descriptors of a device on the loop that serves it.
 *
 * A device that waits for I/O (a file, a socket) has the loop wait for the descriptor, beside the
 * VMM's. For times there is timer.h. If a device can see completions without a system call, it
 * should also look for them in ob_device_ops.poll, which the loop calls before it waits.
 */
#ifndef OUTBOARD_WATCH_H
#define OUTBOARD_WATCH_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Events of a watched descriptor, or-ed. */
enum ob_watch_event {
    OB_WATCH_READABLE = 1u << 0,
    OB_WATCH_WRITABLE = 1u << 1,
};

/**
 * A watched descriptor is ready. Hang-ups and errors count as ready for each requested event.
 *
 * @argument: the pointer given to ob_device_watch().
 * @events:   enum ob_watch_event, or-ed.
 */
typedef void (*ob_watch_fn)(void *argument, unsigned events);

/**
 * Watch a descriptor from the moment the device is served, until ob_device_unwatch() or the end of
 * the device. The device is called as long as the descriptor is ready (epoll(7), level-triggered).
 *
 * @fd:       stays the caller's, and open while it is watched. One that is watched already is
 *            watched for the new @events by the new @ready.
 * @events:   enum ob_watch_event, or-ed; at least one.
 * @ready:    called on the thread that serves the device.
 * @argument: handed to @ready.
 *
 * Returns 0, -EINVAL (no device, no @ready, no or unknown @events), -EBADF, -ENOMEM, or the errno
 * of epoll_ctl(2). Before the device is served, the program reports a descriptor that can't be
 * watched. Any callback of the device, or before serving.
 */
OB_API int ob_device_watch(struct ob_device *device, int fd, unsigned events, ob_watch_fn ready,
                           void *argument);

/** Watch a descriptor no more. One that is not watched is fine. Any callback, its own included. */
OB_API void ob_device_unwatch(struct ob_device *device, int fd);

#ifdef __cplusplus
}
#endif
#endif
