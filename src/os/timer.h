// SPDX-License-Identifier: BSD-3-Clause
/* A descriptor that becomes readable at regular times. */
#ifndef OUTBOARD_OS_TIMER_H
#define OUTBOARD_OS_TIMER_H

/* Returns a timer that fires every interval_ms from now on, or a negative errno. */
int timer_new(unsigned interval_ms);
/* Takes note that it has fired. */
void timer_drain(int fd);

#endif
