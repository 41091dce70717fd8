// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watch: descriptors of a device on the loop that serves it.
 *
 * A device whose work ends elsewhere (a file's I/O, a socket) has the loop wait for the descriptor
 * that tells of it, beside the VMM's. For times there is timer.h. Completions that can be seen
 * without a system call are better looked for in ob_device_ops.poll too, which the loop calls
 * before it waits.
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
 * Watch a descriptor from the moment the device is served, for as long as it is ready (epoll(7),
 * level-triggered), until ob_device_unwatch() or the end of the device.
 *
 * @fd:       stays the caller's, and open while it is watched. One that is watched already is
 *            watched for the new @events by the new @ready.
 * @events:   enum ob_watch_event, or-ed; at least one.
 * @ready:    called on the thread that serves the device.
 * @argument: handed to @ready.
 *
 * Returns 0, -EINVAL (no device, no @ready, no or unknown @events), -EBADF, -ENOMEM, or the errno
 * of epoll_ctl(2); before the device is served, the program reports a descriptor that can't be
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
