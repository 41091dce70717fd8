// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a vfio-user client may do with what a remote says: written from the specification, byte by
 * byte, and small enough to be believed. fuzz/vfio_user_client.c holds the engine against it.
 */
#ifndef OUTBOARD_FUZZ_VFIO_USER_CLIENT_MODEL_H
#define OUTBOARD_FUZZ_VFIO_USER_CLIENT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* The engine under test has buffers of these lengths, so that every limit is near. */
#define MODEL_RX_LEN   256u
#define MODEL_TX_LEN   512u
#define MODEL_MAX_DATA 200u

/* Guest memory: bytes that can be written, then some that can't, then none. */
#define MODEL_MEMORY_AT       0x1000u
#define MODEL_MEMORY_WRITABLE 512u
#define MODEL_MEMORY_LEN      768u

#define MODEL_REPLY_LEN 32u

struct model_call {
    uint64_t serial;
    uint16_t command;
    bool is_message; /* else an access, or a reset */
    unsigned size;   /* of an access */
    int slot;        /* of the reply to a message; -1: nobody wants it */
    size_t reply_len;
    unsigned max_fds;
};

/* The reply to a message, as far as it has come. */
struct model_reply {
    bool filled;
    uint8_t bytes[MODEL_REPLY_LEN];
    size_t len;
    unsigned num_fds;
};

struct model {
    bool opened;
    bool refused;
    bool later; /* a command waits for room */
    struct model_call calls[LIMIT_CLIENT_CALLS];
    unsigned num_calls;
    uint64_t answered; /* serial of the newest call that was answered, and its answer */
    int error;
    uint64_t value;
    struct model_reply replies[LIMIT_CLIENT_CALLS];
    uint8_t in[MODEL_RX_LEN]; /* received and not taken yet */
    size_t in_len;
    unsigned waiting_fds; /* for the first frame in there, and for the last */
    unsigned arrived_fds;
    uint8_t out[MODEL_TX_LEN]; /* put since all was sent */
    size_t out_len;
    size_t out_sent;
    uint8_t memory[MODEL_MEMORY_LEN];
};

/* What an access of guest memory gives: 0, -EFAULT or -EACCES. */
int model_memory_check(uint64_t iova, uint64_t len, bool write);

void model_receive(struct model *model, const uint8_t *bytes, size_t len, unsigned num_fds);
void model_send(struct model *model, size_t len);

#endif
