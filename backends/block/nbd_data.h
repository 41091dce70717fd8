// SPDX-License-Identifier: BSD-3-Clause
/*
 * The data phase of NBD for a device that outlives its process: libnbd makes the connection, and this
 * sends requests and receives simple replies, with all positions in struct nbd_shared.
 *
 * Another process takes a connection over to drain it: it receives the replies of requests that the
 * server has, and throws their data away. Behind the last one the server works on nothing.
 *
 * A server that breaks the rules loses its connection. Specification: NBD's doc/proto.md, "Transmission".
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_DATA_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_DATA_H

#include <stddef.h>

#include "block/nbd_memory.h"

/* Types of a request, and flags. */
enum nbd_type {
    NBD_READ = 0,
    NBD_WRITE = 1,
    NBD_FLUSH = 3,
    NBD_TRIM = 4,
    NBD_ZERO = 6,
};

#define NBD_FUA     1u
#define NBD_NO_HOLE 2u

struct nbd_command {
    enum nbd_type type;
    uint32_t flags;
    uint64_t offset;
    uint64_t len;
    void *data; /* of reads and writes; stays the caller's until the end */
};

struct nbd_data;

/* A request has ended, as libnbd says it: 0, an errno of the server's, or ENOTCONN. Returns 1. */
typedef int (*nbd_completed_fn)(void *argument, int *error);

/* Begins on a connected socket, which stays the caller's. NULL: no memory. */
struct nbd_data *nbd_data_new(int fd, struct nbd_shared *shared, nbd_completed_fn completed);
/* Takes over the requests that another process has begun. -EINVAL when no process can have left it so, -ENOMEM. */
int nbd_data_take_over(int fd, struct nbd_shared *shared, struct nbd_data **ret_data);
/* All requests have ended, or nobody is told. NULL is fine. */
void nbd_data_free(struct nbd_data *data);

/* Requests may be sent from now on: the vault has the connection. */
void nbd_data_open(struct nbd_data *data);
/* Sends a request, or has it wait. It ends by completed(argument, ...), maybe before this returns. 0 or -ENOMEM. */
int nbd_data_send(struct nbd_data *data, const struct nbd_command *command, void *argument);
/* Sends and receives without waiting, a bounded number of steps. Whether anything happened. */
bool nbd_data_work(struct nbd_data *data);

/* Whether the server has gone, or has broken the rules: all requests have ended. */
bool nbd_data_is_gone(const struct nbd_data *data);
/* Whether something waits to be sent that could be. */
bool nbd_data_wants_to_send(const struct nbd_data *data);
/* Requests that the server has. */
unsigned nbd_data_at_server(const struct nbd_data *data);

#endif
