// SPDX-License-Identifier: BSD-3-Clause
/*
 * Signals to a peer's eventfds by write(2), for the one thread of a program that signals.
 *
 * A peer may have its eventfd block, and fill it at any time. A timer ticks while signals are sent,
 * and breaks a write that waits. aio needs no guard (event.h), but a process that has an aio context
 * waits for two grace periods of RCU when it dies, 20 to 35 ms, and its successor with it.
 */
#ifndef OUTBOARD_OS_GUARDED_EVENT_H
#define OUTBOARD_OS_GUARDED_EVENT_H

#include <stdbool.h>

/* The signals that the program takes for it. */
#define GUARD_TICK  (SIGRTMIN + 10)
#define GUARD_BREAK (SIGRTMIN + 11)

/* Makes the timers, and takes two signals. To be called by the thread that will signal. 0 or a
 * negative errno; nothing has changed then. Again: does nothing. */
int guarded_event_prepare(void);
/* Whether it has been called with success. */
bool guarded_event_is_ready(void);

/* As event_signal(). Waits for two ticks at most, 10 ms each, for a peer that has it wait. */
void guarded_event_signal(int fd);
/* Whether fd is an eventfd. Asks no file system, takes nothing out of it, and wakes nobody. */
bool guarded_event_is_one(int fd);

#endif
