// SPDX-License-Identifier: BSD-3-Clause
/*
 * Wake-up: a signal from another thread to the thread that serves a device.
 *
 * A device may have threads of its own, for example for a codec or a blocking library. They must
 * not call functions of device.h, dma.h, irq.h, timer.h and watch.h. Such a thread stores its
 * result for the device and signals a wake-up; the serving thread then calls the device.
 *
 *     static void finished(void *argument) { ... ob_irq_raise(device); }  // the serving thread
 *     ob_wake_new(device, finished, state, &state->wake, fault);          // in create()
 *     ... lock, store the result, unlock; ob_wake_signal(state->wake);    // any thread
 */
#ifndef OUTBOARD_WAKE_H
#define OUTBOARD_WAKE_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_wake;

/** A wake-up was signalled, once or more often since the last call. @argument: that of
 * ob_wake_new(). The callback sees all writes that the signalling threads made before they
 * signalled. */
typedef void (*ob_wake_fn)(void *argument);

/**
 * Make a wake-up. One that is signalled before the device is served is called when it is.
 *
 * @woken:    called on the thread that serves the device, as any callback of it.
 * @argument: handed to @woken.
 * @ret_wake: free it with ob_wake_free().
 * @fault:    may be NULL.
 *
 * Returns 0, -EINVAL, -ENOMEM, or the errno of eventfd(2) or epoll_ctl(2). Any callback of the
 * device, or before serving.
 */
OB_API int ob_wake_new(struct ob_device *device, ob_wake_fn woken, void *argument,
                       struct ob_wake **ret_wake, struct ob_fault *fault);

/**
 * Have @woken called soon. Never waits, keeps errno, and has an effect for each call that comes
 * after @woken was last entered. Costs a system call if none is on its way already. NULL is fine.
 *
 * Any thread, and signal handlers; until ob_wake_free(), also after the device was freed.
 */
OB_API void ob_wake_signal(struct ob_wake *wake);

/** Free a wake-up, which no thread will signal any more; @woken is not called again. Before or
 * after the device is freed, on the thread that serves it: its own callback will do, and so will
 * ob_program.destroy. NULL is fine. */
OB_API void ob_wake_free(struct ob_wake *wake);

#ifdef __cplusplus
}
#endif
#endif
