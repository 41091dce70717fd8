// SPDX-License-Identifier: BSD-3-Clause
/* Eventfds that a peer has sent, and so may be anything. */
#ifndef OUTBOARD_OS_EVENT_H
#define OUTBOARD_OS_EVENT_H

/* Makes fd non-blocking. 0; -EINVAL when it is no eventfd; or another errno. */
int event_check(int fd);
/* Adds one. An event that is full already is as good as signalled. */
void event_signal(int fd);
/* Sets it back to zero. */
void event_drain(int fd);

#endif
