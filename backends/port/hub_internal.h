// SPDX-License-Identifier: BSD-3-Clause
/* How a hub is made: for the files of this folder. */
#ifndef OUTBOARD_PORT_HUB_INTERNAL_H
#define OUTBOARD_PORT_HUB_INTERNAL_H

#include <outboard/device.h>
#include <outboard/fault.h>

#include "base/list.h"
#include "os/loop.h"
#include "os/timer.h"
#include "port/connector.h"
#include "port/hub.h"

struct port_hub {
    struct loop *loop;
    struct timers timers;
    int ticker; /* wakes the loop for the timers */
    struct loop_source *ticks;
    struct list ends; /* struct port_end; keys of the connector are their numbers */
    unsigned num_ends;
    int connector; /* -1: none */
    struct loop_source *answers;
};

/* Has the loop run the timers. 0 or a negative errno. */
int port_hub_start_timers(struct port_hub *hub);

/* As timer_set(). */
void port_hub_set_timer(struct port_hub *hub, struct timer *timer, uint64_t at_ns);

#endif
