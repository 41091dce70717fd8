// SPDX-License-Identifier: BSD-3-Clause
/* Eventfds: our own, and those that a peer has sent, which may be anything. */
#ifndef OUTBOARD_OS_EVENT_H
#define OUTBOARD_OS_EVENT_H

/* Makes an eventfd at zero. Returns the descriptor or a negative errno. */
int event_new(void);
/* Makes fd non-blocking. 0; -EINVAL when it is no eventfd; or another errno. */
int event_check(int fd);
/* Adds one. An event that is full already is as good as signalled. */
void event_signal(int fd);
/* Sets it back to zero. */
void event_drain(int fd);
/* The same where the peer may have made it blocking again, as it can with one that both hold. */
void event_drain_nowait(int fd);

#endif
