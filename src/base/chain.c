// SPDX-License-Identifier: BSD-3-Clause
#include "base/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct chunk {
    struct chunk *next;
    size_t size;
    size_t start, end; /* queued bytes: bytes[start] to bytes[end - 1] */
    uint8_t bytes[];
};

static struct chunk *chunk_new(size_t queued, size_t len)
{
    size_t size = queued < CHAIN_CHUNK_MAX ? queued : CHAIN_CHUNK_MAX;
    if (size < len)
        size = len;
    if (size < CHAIN_CHUNK_MIN)
        size = CHAIN_CHUNK_MIN;
    struct chunk *chunk = malloc(sizeof(*chunk) + size);
    if (chunk)
        *chunk = (struct chunk){.size = size};
    return chunk;
}

static void fill(struct chunk *chunk, const uint8_t *bytes, size_t len)
{
    memcpy(chunk->bytes + chunk->end, bytes, len);
    chunk->end += len;
}

int chain_append(struct chain *chain, const void *bytes, size_t len)
{
    if (!len)
        return 0;
    const uint8_t *at = bytes;
    struct chunk *tail = chain->tail;
    size_t room = tail ? tail->size - tail->end : 0;
    size_t rest = len > room ? len - room : 0;
    size_t first = len - rest;
    struct chunk *fresh = NULL;
    if (rest) {
        fresh = chunk_new(chain->len, rest);
        if (!fresh)
            return -ENOMEM;
        fill(fresh, at + first, rest);
    }
    if (first)
        fill(tail, at, first);
    if (fresh) {
        *(tail ? &tail->next : &chain->head) = fresh;
        chain->tail = fresh;
    }
    chain->len += len;
    return 0;
}

size_t chain_peek(const struct chain *chain, size_t offset, const uint8_t **ret_bytes)
{
    assert(offset < chain->len);
    const struct chunk *chunk = chain->head;
    while (offset >= chunk->end - chunk->start) {
        offset -= chunk->end - chunk->start;
        chunk = chunk->next;
    }
    *ret_bytes = chunk->bytes + chunk->start + offset;
    return chunk->end - chunk->start - offset;
}

static void drop_head(struct chain *chain)
{
    struct chunk *head = chain->head;
    chain->head = head->next;
    if (!chain->head)
        chain->tail = NULL;
    free(head);
}

void chain_consume(struct chain *chain, size_t len)
{
    assert(len <= chain->len);
    chain->len -= len;
    while (len) {
        struct chunk *head = chain->head;
        size_t here = head->end - head->start;
        size_t taken = len < here ? len : here;
        head->start += taken;
        len -= taken;
        if (head->start == head->end)
            drop_head(chain);
    }
}

void chain_clear(struct chain *chain)
{
    while (chain->head)
        drop_head(chain);
    chain->len = 0;
}

size_t chain_memory(const struct chain *chain)
{
    size_t memory = 0;
    for (const struct chunk *chunk = chain->head; chunk; chunk = chunk->next)
        memory += sizeof(*chunk) + chunk->size;
    return memory;
}
