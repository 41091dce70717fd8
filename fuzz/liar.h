// SPDX-License-Identifier: BSD-3-Clause
/*
 * A remote device that lies: a real device behind a real engine, at one end of a socket pair, whose
 * answers are changed as the lies say. Where these have ended it tells the truth.
 */
#ifndef OUTBOARD_FUZZ_LIAR_H
#define OUTBOARD_FUZZ_LIAR_H

#include <stdbool.h>

#include <outboard/dma.h>

#include "base/cursor.h"
#include "os/loop.h"
#include "server/engine.h"

#define LIAR_HELD  4096u
#define LIAR_BYTES 64u

struct liar {
    struct rd *lies;
    int fd; /* -1: closed */
    struct loop *loop;
    struct ob_device *device;
    struct engine *engine;
    struct ob_dma_request request;
    bool busy; /* the request is on its way */
    uint8_t bytes[LIAR_BYTES];
    uint8_t held[LIAR_HELD]; /* what is sent a turn later */
    size_t held_len;
};

/* Opens what the process opens once; before descriptors are counted. */
void liar_start(void);

/* Divides an input: its first byte says how much of it are the lies, which come last. */
void liar_divide(const uint8_t *data, size_t size, struct rd *ret_steps, struct rd *ret_lies);

/* Makes a device that speaks this wire at fd, which becomes the liar's. */
void liar_init(struct liar *liar, struct rd *lies, const struct engine_ops *wire, int fd);
void liar_done(struct liar *liar);

/* Takes what the client has sent, and answers, or does not. */
void liar_turn(struct liar *liar);

#endif
