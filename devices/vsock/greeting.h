// SPDX-License-Identifier: BSD-3-Clause
/*
 * Greeting: the line by which a program of the host names a port of the guest, and by which the
 * device of another guest names two ports.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_GREETING_H
#define OUTBOARD_DEVICES_VSOCK_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GREETING_MAX 40u /* bytes of the line, with its end */

/* The part of a line that has come. Zero-initialised. */
struct greeting {
    char line[GREETING_MAX];
    size_t len;
};

/* Takes a line from a socket, and not a byte behind it. 0; -EAGAIN while its end is not there;
 * -EPROTO if it is too long; or -ENOTCONN. */
int greeting_take(struct greeting *greeting, int fd);

/* A program of the host: "CONNECT PORT", the word in any case. 0 or -EPROTO. */
int greeting_parse(const struct greeting *greeting, uint32_t *ret_port);

/* The device of another guest: "CONNECT PORT FROM PORT", of this guest and of the other one. 0 or
 * -EPROTO. */
int greeting_parse_peer(const struct greeting *greeting, uint32_t *ret_port,
                        uint32_t *ret_peer_port);

/* The line that greeting_parse_peer() reads, with its end. */
void greeting_format(uint32_t port, uint32_t from, char ret_line[GREETING_MAX]);

/* Whether it is the answer to such a line: "OK PORT". */
bool greeting_is_consent(const struct greeting *greeting);

#endif
