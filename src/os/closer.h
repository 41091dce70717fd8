// SPDX-License-Identifier: BSD-3-Clause
/*
 * Closing a peer's descriptors without waiting.
 *
 * close(2) may wait for as long as the peer likes: a TCP socket lingers, a file on FUSE is flushed.
 * So only a descriptor whose close can't wait is closed at once: memory and eventfds. Any other
 * goes to a thread that does nothing but close. A thread that waits for a socket or a file of FUSE
 * keeps the descriptors behind it open; the program continues.
 *
 * A file system that never answers holds the thread, and the open files of the process, even past its
 * end. So a program closes locks, listeners and connections by hand before its end.
 */
#ifndef OUTBOARD_OS_CLOSER_H
#define OUTBOARD_OS_CLOSER_H

/* How long the end of a program waits for a thread that waits for somebody, milliseconds. */
#define CLOSER_PATIENCE_MS 1000u

/* One user more: the first one starts the thread of this process. All signals are blocked in it. To
 * be called before the first byte of a peer is read, and again in a child after fork(2). Each call,
 * even one that fails, is to be followed by a closer_stop(). 0 or a negative errno. */
int closer_start(void);

/* One user less: the last one ends the thread, which first closes the rest. While a close that
 * somebody holds up is under way this waits up to patience_ms, 0: not at all; then the thread is
 * left to end when it can, at the latest with the process. A descriptor that is handed over
 * later stays open. */
void closer_stop(unsigned patience_ms);

/* Closes a descriptor that came from a peer. It stays open until the end of the process when there
 * is no thread, or LIMIT_CLOSING others wait for it. May be called by any thread. */
void closer_close(int fd);

/* Closes a socket of our own that was shut down, and whatever descriptors its peer has sent that
 * nobody has received. Likewise. */
void closer_close_socket(int fd);

#endif
