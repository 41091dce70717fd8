// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/timer.h: a timer of the device's, among those that its host has. */
#include <outboard/timer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/watch.h>

#include "device/device.h"
#include "os/clock.h"
#include "program/host.h"

struct ob_timer {
    struct device_ending ending;  /* first: the device knows it by this */
    struct device_timers *timers; /* NULL: the device was freed */
    struct timer timer;
};

static void ready(void *argument, unsigned events)
{
    device_timers_ready(argument);
}

static void device_ended(struct device_ending *ending)
{
    struct ob_timer *timer = (struct ob_timer *)ending;
    timer_cancel(&timer->timer);
    timer->timers = NULL;
}

uint64_t ob_timer_now_ns(void)
{
    return clock_now_ns();
}

int ob_timer_new(struct ob_device *device, ob_timer_fn due, void *argument,
                 struct ob_timer **ret_timer, struct ob_fault *fault)
{
    if (!device || !due || !ret_timer)
        return ob_fault_set(fault, -EINVAL, "ob_timer_new(): device, due or ret_timer is NULL");
    struct ob_timer *timer = calloc(1, sizeof(*timer));
    if (!timer)
        return ob_fault_set(fault, -ENOMEM, "no memory for a timer");
    timer->timers = program_host_timers(device);
    timer_init(&timer->timer, due, argument);
    int fd = device_timers_open(timer->timers);
    int err = fd < 0 ? fd : ob_device_watch(device, fd, OB_WATCH_READABLE, ready, timer->timers);
    if (err < 0) {
        free(timer);
        return ob_fault_set(fault, err, "can't make a timer: %s", strerror(-err));
    }
    device_tell_of_end(device, &timer->ending, device_ended);
    *ret_timer = timer;
    return 0;
}

void ob_timer_set(struct ob_timer *timer, uint64_t at_ns)
{
    if (timer && timer->timers)
        device_timers_set(timer->timers, &timer->timer, at_ns);
}

void ob_timer_cancel(struct ob_timer *timer)
{
    if (timer)
        timer_cancel(&timer->timer);
}

void ob_timer_free(struct ob_timer *timer)
{
    if (!timer)
        return;
    if (timer->timers) {
        device_forget_ending(&timer->ending);
        device_ended(&timer->ending);
    }
    free(timer);
}
