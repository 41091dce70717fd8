// SPDX-License-Identifier: BSD-3-Clause
/*
 * DNS as a client sees it (RFC 1035, RFC 3596): a query for the addresses of a name, and the answer
 * of a recursive server. Integers are big endian here.
 */
#ifndef OUTBOARD_WIRE_DNS_H
#define OUTBOARD_WIRE_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DNS_NAME_MAX      253 /* as text, without a dot at the end */
#define DNS_QUERY_MAX     (12 + DNS_NAME_MAX + 2 + 4)
#define DNS_ADDRESSES_MAX 8

enum dns_type {
    DNS_A = 1,
    DNS_AAAA = 28,
};

enum dns_code {
    DNS_NO_ERROR = 0,
    DNS_SERVER_FAILURE = 2,
    DNS_NO_SUCH_NAME = 3,
};

struct dns_answer {
    uint8_t code;   /* enum dns_code, or another number of section 4.1.1 */
    unsigned count; /* addresses; those beyond DNS_ADDRESSES_MAX are passed over */
    uint8_t address[DNS_ADDRESSES_MAX][16]; /* 4 bytes of each for DNS_A */
    char owner[DNS_NAME_MAX + 1];           /* whose addresses they are, behind all aliases */
};

/* Section 4.1: asks for the addresses of a name (labels with dots between; a dot at the end may
 * be). Returns the length of the query, or -EINVAL when it is no name of the DNS. */
ssize_t dns_put_query(const char *name, enum dns_type type, uint16_t id,
                      uint8_t ret_query[DNS_QUERY_MAX]);

/* Reads the answer to a query. 0, or -EPROTO (the answer to something else, or damaged). */
int dns_get_answer(const void *bytes, size_t len, const uint8_t *query, size_t query_len,
                   struct dns_answer *ret_answer);

#endif
