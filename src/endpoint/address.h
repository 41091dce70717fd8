// SPDX-License-Identifier: BSD-3-Clause
/* Addresses as the command line and a peer write them: text to struct, and to the kernel's
 * form. */
#ifndef OUTBOARD_ENDPOINT_ADDRESS_H
#define OUTBOARD_ENDPOINT_ADDRESS_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_NAME_MAX 253
#define ADDRESS_TEXT_MAX 270

enum address_kind {
    ADDRESS_TCP,
    ADDRESS_UNIX,
    ADDRESS_VSOCK,
};

struct address {
    enum address_kind kind;
    char name[ADDRESS_NAME_MAX + 1]; /* TCP: host name or number; Unix: path, or '@' and a name */
    uint32_t cid;                    /* vsock */
    uint32_t port;                   /* TCP, vsock */
};

/* tcp:HOST:PORT, unix:PATH or vsock:CID:PORT. 0 or -EINVAL with the fault filled. */
int address_parse(const char *text, struct address *ret_address, struct ob_fault *fault);

/* The same of something to connect to: port 0 and the wildcards of vsock are refused. */
int address_parse_target(const char *text, struct address *ret_address, struct ob_fault *fault);

/* The PATH of a Unix socket, or @NAME of an abstract one. */
int address_parse_path(const char *text, struct address *ret_address, struct ob_fault *fault);

/* Where to listen: [HOST:]PORT (loopback without HOST, everywhere for *), or unix:PATH. */
int address_parse_listen(const char *text, struct address *ret_address, struct ob_fault *fault);

/* Splits HOST:PORT, an IPv6 HOST in brackets, into a host and the text of the port. 0 or -EINVAL.
 */
int address_split(const char *text, char ret_host[ADDRESS_NAME_MAX + 1], const char **ret_port);

/* A number from 0 to max. 0 or -EINVAL. */
int address_number(const char *text, uint32_t max, uint32_t *ret_number);

/* The text that address_parse() reads. */
void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_MAX]);

/* The form of bind(2) and connect(2). Returns its length; -ENOENT when the host is a name that must
 * be resolved first. */
int address_to_kernel(const struct address *address, struct sockaddr_storage *ret_kernel);

/* The TCP address that the kernel gives back: of a listener, or of a resolved name. */
void address_from_kernel(const struct sockaddr_storage *kernel, struct address *ret_address);

#endif
