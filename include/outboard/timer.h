// SPDX-License-Identifier: BSD-3-Clause
/*
 * Timer: the loop that serves a device calls it at a given time.
 *
 * A timer fires once for each time that it is set. A periodic one is set again in its callback.
 * Times are nanoseconds of CLOCK_MONOTONIC. That clock never runs backward, and stops while the
 * machine sleeps; it is not the guest's. All timers of a device share one file descriptor, so a
 * device may have thousands.
 *
 *     ob_timer_new(device, due, state, &state->timer, fault);      // in create()
 *     ob_timer_set(state->timer, ob_timer_now_ns() + period_ns);   // in any callback, due() too
 *
 * Timers also fire while the device is paused or dormant (device.h). A device that must not act
 * then keeps the work until pause() ends or the VMM accesses it.
 */
#ifndef OUTBOARD_TIMER_H
#define OUTBOARD_TIMER_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_timer;

/** The time of a timer has come. The timer is no longer set; the callback may set it again.
 * @argument: that of ob_timer_new(). */
typedef void (*ob_timer_fn)(void *argument);

/** The time now, in nanoseconds of CLOCK_MONOTONIC. Any thread. */
OB_API uint64_t ob_timer_now_ns(void);

/**
 * Make a timer, which is not set. Nothing fires before the device is served.
 *
 * @due:       called on the thread that serves the device, as any callback of it.
 * @argument:  handed to @due.
 * @ret_timer: free it with ob_timer_free().
 * @fault:     may be NULL.
 *
 * Returns 0, -EINVAL, -ENOMEM, or the errno of timerfd_create(2) or epoll_ctl(2). Any callback of
 * the device, or before serving.
 */
OB_API int ob_timer_new(struct ob_device *device, ob_timer_fn due, void *argument,
                        struct ob_timer **ret_timer, struct ob_fault *fault);

/**
 * Set a timer; if it is set already, to another time. It fires at @at_ns or later, and never within
 * this call. If @at_ns is past, it fires in the next turn of the loop; ready descriptors and other
 * timers are served too. NULL is fine. Any callback of the device, or before serving.
 *
 * @at_ns: nanoseconds, as ob_timer_now_ns() counts them.
 */
OB_API void ob_timer_set(struct ob_timer *timer, uint64_t at_ns);

/** The timer does not fire until it is set again. A timer that is not set is fine, and so is NULL.
 * Any callback of the device, its own included, or before serving. */
OB_API void ob_timer_cancel(struct ob_timer *timer);

/** Free a timer; @due is not called again. Before or after the device is freed, on the thread that
 * serves it: its own callback will do, and so will ob_program.destroy. NULL is fine. */
OB_API void ob_timer_free(struct ob_timer *timer);

#ifdef __cplusplus
}
#endif
#endif
