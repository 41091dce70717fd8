// SPDX-License-Identifier: BSD-3-Clause
/*
 * A child process behind a socket pair. It does work that a cell forbids to this process later: it
 * connects, listens, or removes a path. The end of the pair is its order to end. Nobody reaps it; it is
 * made before the process has a second thread.
 */
#ifndef OUTBOARD_OS_SOCKET_CHILD_H
#define OUTBOARD_OS_SOCKET_CHILD_H

/* Forks. work(fd, context) runs in the child with its end of the pair, and its result is the exit
 * status. type: SOCK_STREAM or SOCK_SEQPACKET. Returns our end, close-on-exec, or a negative errno. */
int socket_child_start(int type, int (*work)(int fd, const void *context), const void *context);

/* The same, and waits until the child has nothing of its parent, for which `work` must call one of the two
 * functions below. Then a listener of the parent's is closed when the parent has ended, and its path is free. */
int socket_child_start_apart(int type, int (*work)(int fd, const void *context),
                             const void *context);

/* In the child: closes every descriptor but fd, the standard ones too. A peer, or a reader of
 * standard output, would otherwise wait for the child's copy. */
void socket_child_close_others(int fd);

/* In a child that logs, starts programs or keeps the terminal: standard input and output become /dev/null,
 * standard error stays, and every other descriptor is closed. Signals of the keyboard and of a service
 * manager are for the parent. The session stays the parent's: /dev/tty may be a channel. Returns the number
 * that fd has now, or a negative errno. */
int socket_child_stand_alone(int fd);

/* Tells the child to end, waits until it has closed its end, and closes ours. */
void socket_child_end(int fd);

#endif
