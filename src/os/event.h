// SPDX-License-Identifier: BSD-3-Clause
/*
 * Eventfds: our own, and those that a peer has sent, which may be anything.
 *
 * Whether a peer's eventfd blocks is the peer's business: the flag is one that both share, and a
 * peer that reads it to wait for an interrupt would be told that there is none.
 */
#ifndef OUTBOARD_OS_EVENT_H
#define OUTBOARD_OS_EVENT_H

/* Makes an eventfd at zero. Returns the descriptor or a negative errno. */
int event_new(void);
/* 0; -EINVAL when fd is no eventfd; or another errno. */
int event_check(int fd);
/* Adds one. An event that is full already is as good as signalled, and is not waited for, unless
 * the peer fills it in the very moment between a look and the write: then its device waits. */
void event_signal(int fd);
/* Sets one of our own back to zero. */
void event_drain(int fd);
/* The same for a peer's, which may be blocking and empty. */
void event_drain_nowait(int fd);

#endif
