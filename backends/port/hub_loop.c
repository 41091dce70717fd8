// SPDX-License-Identifier: BSD-3-Clause
/* The loop and the timers of a hub. */
#include <sys/epoll.h>

#include <outboard/watch.h>

#include "os/clock.h"
#include "os/ticker.h"
#include "port/hub_internal.h"

/* Rounds of the hub's loop in one call of the device's. */
#define ROUNDS 4

static void set_ticker(struct port_hub *hub)
{
    uint64_t at_ns = timers_next(&hub->timers);
    if (at_ns == TIMER_NEVER)
        ticker_set(hub->ticker, 0);
    else
        ticker_set_once(hub->ticker, at_ns ? at_ns : 1);
}

void port_hub_set_timer(struct port_hub *hub, struct timer *timer, uint64_t at_ns)
{
    timer_set(&hub->timers, timer, at_ns);
    set_ticker(hub);
}

static void on_tick(void *argument, uint32_t events)
{
    struct port_hub *hub = argument;
    ticker_drain(hub->ticker);
    timers_run(&hub->timers, clock_now_ns());
    set_ticker(hub);
}

int port_hub_start_timers(struct port_hub *hub)
{
    return loop_add(hub->loop, hub->ticker, EPOLLIN, on_tick, hub, &hub->ticks);
}

void port_hub_turn(struct port_hub *hub, int timeout_ms)
{
    for (unsigned i = 0; i < ROUNDS && loop_wait(hub->loop, i == 0 ? timeout_ms : 0) > 0; i++) {}
}

static void on_ready(void *argument, unsigned events)
{
    port_hub_turn(argument, 0);
}

int port_hub_attach(struct port_hub *hub, struct ob_device *device)
{
    return ob_device_watch(device, loop_fd(hub->loop), OB_WATCH_READABLE, on_ready, hub);
}
