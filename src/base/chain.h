// SPDX-License-Identifier: BSD-3-Clause
/*
 * Chain: a byte queue that owns no memory while it is empty.
 *
 * Bytes lie in chunks whose size follows the length of the queue, so that a peer which sends one byte at a
 * time cannot make the queue take more than about twice its bytes and CHAIN_CHUNK_MIN.
 */
#ifndef OUTBOARD_BASE_CHAIN_H
#define OUTBOARD_BASE_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#define CHAIN_CHUNK_MIN 512
#define CHAIN_CHUNK_MAX 16384

struct chunk;

/* All zero is an empty chain. */
struct chain {
    struct chunk *head, *tail;
    size_t len; /* bytes queued */
};

/* Queues all of the bytes and returns 0, or none and returns -ENOMEM. */
int chain_append(struct chain *chain, const void *bytes, size_t len);

/*
 * Points *ret_bytes to the byte at offset (which must lie within the chain) and returns how many
 * lie contiguously from there on. Valid until the next chain_consume() or chain_clear().
 */
size_t chain_peek(const struct chain *chain, size_t offset, const uint8_t **ret_bytes);

/* Takes len bytes off the front; there must be as many. */
void chain_consume(struct chain *chain, size_t len);

void chain_clear(struct chain *chain);

/* Memory that the chain holds, bytes. */
size_t chain_memory(const struct chain *chain);

#endif
