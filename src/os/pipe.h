// SPDX-License-Identifier: BSD-3-Clause
/* Pipes that a peer has passed. Nothing here waits, and no other process is asked. */
#ifndef OUTBOARD_OS_PIPE_H
#define OUTBOARD_OS_PIPE_H

#include <stddef.h>
#include <sys/types.h>

/* Whether fd is an end of a pipe, which does not block from now on. 0, -EINVAL: it is something else; or
 * another negative errno. */
int pipe_check(int fd);
/* The bytes read, 0 at the end of the pipe; or a negative errno. */
ssize_t pipe_read(int fd, void *ret_bytes, size_t len);
/* The bytes written, or a negative errno: -EPIPE, nobody reads it; no signal is sent then. */
ssize_t pipe_write(int fd, const void *bytes, size_t len);

#endif
