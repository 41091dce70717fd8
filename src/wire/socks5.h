// SPDX-License-Identifier: BSD-3-Clause
/*
 * SOCKS5 as a server sees it (RFC 1928): the greeting, the request, the replies. CONNECT alone;
 * no authentication. Integers are big endian here.
 */
#ifndef OUTBOARD_WIRE_SOCKS5_H
#define OUTBOARD_WIRE_SOCKS5_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SOCKS5_HOST_MAX   255
#define SOCKS5_METHOD_LEN 2
#define SOCKS5_REPLY_LEN  10

/* Section 3: the server's choice among the methods that a client offers. */
enum socks5_method {
    SOCKS5_NO_AUTHENTICATION = 0x00,
    SOCKS5_NO_ACCEPTABLE = 0xff,
};

/* Section 6: the reply field. */
enum socks5_reply {
    SOCKS5_SUCCEEDED = 0x00,
    SOCKS5_FAILURE = 0x01,
    SOCKS5_NOT_ALLOWED = 0x02,
    SOCKS5_HOST_UNREACHABLE = 0x04,
    SOCKS5_REFUSED = 0x05,
    SOCKS5_COMMAND_UNKNOWN = 0x07,
    SOCKS5_ADDRESS_UNKNOWN = 0x08,
};

/* Where a client wants to be connected. An IPv6 address stands without brackets. */
struct socks5_request {
    char host[SOCKS5_HOST_MAX + 1];
    uint16_t port;
};

/* Section 3. Returns the greeting's length, -EAGAIN (more bytes needed) or -EPROTO (not SOCKS5);
 * then *ret_method is the answer to give. */
ssize_t socks5_get_greeting(const void *bytes, size_t len, enum socks5_method *ret_method);
void socks5_put_method(enum socks5_method method, uint8_t ret_bytes[SOCKS5_METHOD_LEN]);

/* Section 4. Returns the request's length, -EAGAIN, or -EPROTO, when *ret_reply is the answer to
 * give before hanging up; untouched otherwise. */
ssize_t socks5_get_request(const void *bytes, size_t len, struct socks5_request *ret_request,
                           enum socks5_reply *ret_reply);

/* Section 6. The bound address is not told: it means nothing at this end of a channel. */
void socks5_put_reply(enum socks5_reply reply, uint8_t ret_bytes[SOCKS5_REPLY_LEN]);

#endif
