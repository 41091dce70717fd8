// SPDX-License-Identifier: BSD-3-Clause
/* Standard output and standard error of a client of the proxy: nothing is lost without a word. */
#ifndef OUTBOARD_PROGRAMS_PROXY_OUTPUT_H
#define OUTBOARD_PROGRAMS_PROXY_OUTPUT_H

#include <stddef.h>

#include "proxy_client.h"

/* Writes it all, and waits if it must. 0, or EXIT_NOT_REACHED once the reason was printed; a reader
 * that has gone (| head -1) is no reason to print. */
int output_write(const struct client *client, int fd, const void *bytes, size_t len);

/* Closes one of them, where some file systems report a fault that a write could not: that the disk was full.
 * As output_write(). */
int output_close_one(const struct client *client, int fd);
/* Both. */
int output_close(const struct client *client);

#endif
