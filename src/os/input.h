// SPDX-License-Identifier: BSD-3-Clause
/* Input: bytes that were read from a socket and not looked at yet. */
#ifndef OUTBOARD_OS_INPUT_H
#define OUTBOARD_OS_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#define INPUT_LEN 16384

/* Zero-initialised. */
struct input {
    char bytes[INPUT_LEN];
    size_t at, len; /* bytes[at] to bytes[len - 1] */
    bool ended;     /* the peer has ended its direction */
    bool failed;    /* the socket is broken */
};

/* Whether there are bytes; reads if all were looked at. */
bool input_fill(struct input *input, int fd);

/* The bytes, and their number. */
static inline const char *input_bytes(const struct input *input)
{
    return input->bytes + input->at;
}

static inline size_t input_left(const struct input *input)
{
    return input->len - input->at;
}

#endif
