// SPDX-License-Identifier: BSD-3-Clause
/* The notify protocol of systemd, sd_notify(3), without its library. */
#ifndef OUTBOARD_OS_NOTIFY_H
#define OUTBOARD_OS_NOTIFY_H

/* Connects to $NOTIFY_SOCKET, so that it can be told when its path can't be reached any more.
 * Returns 0 with the descriptor, -1 if the variable is not set; or a negative errno. */
int notify_connect(int *ret_fd);

/* Sends assignments ("READY=1\nSTATUS=...") to a socket of notify_connect() and never waits for the
 * receiver. Returns 0 when sent, or when fd is -1; -EAGAIN when the receiver's queue is full; or
 * another negative errno. */
int notify_send_to(int fd, const char *assignments);

/* The two in one, for a program that has one thing to tell. */
int notify_send(const char *assignments);

#endif
