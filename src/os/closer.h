// SPDX-License-Identifier: BSD-3-Clause
/*
 * Closing what a peer has sent, without waiting.
 *
 * close(2) may wait for as long as the peer likes: a TCP socket lingers, a file on FUSE is flushed.
 * So only a descriptor whose close can't wait is closed at once: memory and eventfds. Any other
 * goes to a thread that does nothing but close. A thread that waits for a socket or a file of FUSE
 * keeps the descriptors behind it open; the program goes on.
 *
 * A file system that never answers holds the thread, and what the process has open, even past its
 * end. So whoever ends closes by hand before: locks, listeners, connections.
 */
#ifndef OUTBOARD_OS_CLOSER_H
#define OUTBOARD_OS_CLOSER_H

/* Starts the thread of this process, unless it runs. All signals are blocked in it. To be called
 * before the first byte of a peer is read, and again in a child after fork(2). 0 or a negative
 * errno. */
int closer_start(void);

/* Ends the thread once it has closed what waits, unless a peer's file holds it up: then it is left
 * to the end of the process after a second. What is handed over later stays open. */
void closer_stop(void);

/* Closes a descriptor that came from a peer. It stays open until the end of the process when there
 * is no thread, or LIMIT_CLOSING others wait for it. May be called by any thread. */
void closer_close(int fd);

/* Closes a socket of our own that was shut down, and whatever descriptors its peer has sent that
 * nobody has received. Likewise. */
void closer_close_socket(int fd);

#endif
