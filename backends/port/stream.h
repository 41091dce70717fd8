// SPDX-License-Identifier: BSD-3-Clause
/*
 * Stream: a socket of a program of the host, from which a device reads into guest memory.
 *
 * Whoever connects to a Unix socket may send descriptors, whose close can wait for as long as their
 * sender likes. None are wanted here, and another thread closes them (os/closer.h).
 */
#ifndef OUTBOARD_PORT_STREAM_H
#define OUTBOARD_PORT_STREAM_H

#include <sys/types.h>
#include <sys/uio.h>

/* Starts the thread. In ob_program.create(). 0 or a negative errno. */
int port_stream_start(void);
/* Ends it. */
void port_stream_stop(void);

/* Reads what is there. The length; 0 at the end; -EAGAIN; or another negative errno. */
ssize_t port_stream_read(int fd, const struct iovec *pieces, unsigned count);

/* Closes the socket. */
void port_stream_close(int fd);

#endif
