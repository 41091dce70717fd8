// SPDX-License-Identifier: BSD-3-Clause
/* The notify protocol of systemd, sd_notify(3), without its library. */
#ifndef OUTBOARD_OS_NOTIFY_H
#define OUTBOARD_OS_NOTIFY_H

/* Sends assignments ("READY=1\nSTATUS=...") to $NOTIFY_SOCKET, and never waits for whoever should
 * read them. 0 when there is none, or sent; -EAGAIN when the receiver lets them pile up; or another
 * negative errno. */
int notify_send(const char *assignments);

#endif
