// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory of a connection to an NBD server that outlives the process: a sealed memfd, which the vault
 * keeps beside the connection's socket. The next process learns from it which requests the server has, and
 * where in the stream of replies the last receive has ended.
 *
 * Replies lie one behind the other. `frame` is the byte at which the next one begins. A request
 * waits for its reply if the server has all its bytes, and no reply before `frame` was its.
 *
 * The process holds a lock on the file, through a description of its own, until it has ended and so has its
 * keeper. The next process changes nothing before.
 *
 * The next process checks all of it: the process that wrote it may have been taken over.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_MEMORY_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "os/counted.h"

/* Requests that a server may have at a time; others wait here. */
#define NBD_SLOTS 512u

#define NBD_REPLY_LEN 16u /* a simple reply's header */

struct nbd_slot {
    uint64_t cookie;
    uint64_t end;       /* byte behind the request in the stream; 0: the slot is free */
    uint64_t answer;    /* byte at which its reply begins, plus 1; 0: none was seen */
    uint32_t reply_len; /* bytes behind the header of a reply without an error */
    uint32_t zero;
};

struct nbd_writes {
    uint64_t acknowledged; /* writes that are not stable by themselves */
    uint64_t covered;      /* how many of them a flush has made so */
};

struct nbd_shared {
    uint32_t magic;
    uint32_t connected; /* there may be requests at the server */
    uint64_t frame;
    uint8_t header[NBD_REPLY_LEN]; /* of the reply there, as far as it was received */
    struct nbd_writes writes;
    struct counted counted;
    struct nbd_slot slots[NBD_SLOTS];
};

struct nbd_memory {
    struct nbd_shared *shared; /* NULL: none */
    int fd;
    int lock_fd; /* another description of the file */
};

/* Makes it. 0 or a negative errno. */
int nbd_memory_new(struct nbd_memory *memory);
/* Maps that of another process; fd stays the caller's. -EAGAIN while the process or its keeper lives, -EINVAL for
 * a file that can't be one. */
int nbd_memory_map(struct nbd_memory *memory, int fd);
void nbd_memory_done(struct nbd_memory *memory);

/* Nothing was sent and received. Writes stay. */
void nbd_memory_begin(struct nbd_shared *shared);

/* Stores that are not moved across each other. */
void nbd_store(uint64_t *place, uint64_t value);

#endif
