// SPDX-License-Identifier: BSD-3-Clause
/*
 * The connection that a process before has had to the NBD server of an image: drained, so that none of its
 * requests is carried out behind one of ours.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_BEFORE_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_BEFORE_H

#include <outboard/device.h>

#include "block/nbd_data.h"

struct nbd_before {
    bool begun;
    bool lost;       /* the server had gone while it had requests, or had broken the rules */
    unsigned number; /* of the image */
    int socket_fd, memory_fd;
    struct nbd_memory memory;
    struct nbd_data *data; /* NULL: nothing is to be drained */
};

/* Numbers of an image's descriptors in the vault. */
#define NBD_VAULT_SOCKET(number) (2u * (number))
#define NBD_VAULT_MEMORY(number) (2u * (number) + 1u)

/* Receives the bytes that are there, and does not wait. Whether no request of the process before is at the server. The
 * writes of its time are then in ret_writes, and before->lost says if the server may have lost some. */
bool nbd_before_step(struct nbd_before *before, struct ob_device *device, unsigned number,
                     struct nbd_writes *ret_writes);
/* Closes it: the vault has another. */
void nbd_before_done(struct nbd_before *before);

#endif
