// SPDX-License-Identifier: BSD-3-Clause
/* Greeting: the line by which a program of the host names a port of the guest. */
#ifndef OUTBOARD_DEVICES_VSOCK_GREETING_H
#define OUTBOARD_DEVICES_VSOCK_GREETING_H

#include <stddef.h>
#include <stdint.h>

#define GREETING_MAX 32u /* bytes of the line, with its end */

/* "CONNECT PORT", the word in any case. 0 or -EPROTO. */
int greeting_parse(const char *line, size_t len, uint32_t *ret_port);

/* The part of a line that has come. Zero-initialised. */
struct greeting {
    char line[GREETING_MAX];
    size_t len;
};

/* Takes the line from a socket, and not a byte behind it. 0; -EAGAIN while its end is not there;
 * -EPROTO if it is another line, or too long; or -ENOTCONN. */
int greeting_take(struct greeting *greeting, int fd, uint32_t *ret_port);

#endif
