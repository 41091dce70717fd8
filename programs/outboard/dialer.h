// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dialer: a process outside the cell that connects to one path for a program in it.
 *
 * It is made before the cell is entered, and knows the path and nothing else. A request carries no
 * address. It reads no byte of the device, and ends with the program.
 */
#ifndef OUTBOARD_PROGRAMS_DIALER_H
#define OUTBOARD_PROGRAMS_DIALER_H

/* The caller has one thread. Returns a descriptor that stands for the process, or a negative errno.
 */
int dialer_start(const char *path, unsigned timeout_ms);

/* As socket_connect(), by the process; -EPIPE if that has gone. */
int dialer_connect(int dialer);

/* Returns when the process has let go of all that it had. */
void dialer_end(int dialer);

#endif
