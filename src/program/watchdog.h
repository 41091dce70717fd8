// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watchdog: tells the launcher regularly that the loop runs, if it asks for that by $WATCHDOG_USEC
 * (sd_watchdog_enabled(3)). WATCHDOG=1 is sent from the loop that serves the device, twice in each
 * interval. So a device whose callback hangs, or whose process is stopped, sends no more.
 */
#ifndef OUTBOARD_PROGRAM_WATCHDOG_H
#define OUTBOARD_PROGRAM_WATCHDOG_H

#include "os/loop.h"

struct watchdog {
    int ticker_fd; /* -1: the launcher has not asked */
    int notify_fd;
    struct loop_source *source;
};

/* Begins, if the launcher asks. 0 or a negative errno. The watchdog stays where it is. */
int watchdog_begin(struct watchdog *watchdog, struct loop *loop, int notify_fd);
void watchdog_end(struct watchdog *watchdog);

#endif
