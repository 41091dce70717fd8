// SPDX-License-Identifier: BSD-3-Clause
/*
 * Standard input of a command that `run` serves: bytes of the client wait here until the command
 * takes them, so that the frames behind it (a signal, above all) are read meanwhile.
 *
 * A client that is told how much the command took (TAKEN) never has more than EXEC_INPUT_WINDOW bytes
 * under way, so its frames are always read. An older client is not told; once as much waits, no
 * more of its frames are read, and the stream's credit holds it back.
 */
#ifndef OUTBOARD_PROXY_RUN_INPUT_H
#define OUTBOARD_PROXY_RUN_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chain.h"
#include "endpoint/pump.h"

struct run_input {
    struct pump pipe;  /* with a terminal, without a descriptor */
    struct pump *pump; /* written to: the pipe, or the terminal's; NULL: none, or closed */
    bool is_terminal;
    bool tells; /* the client is told how much the command took */
    bool ended; /* nothing more comes from the client */
    bool told_end;
    bool closed_due;    /* the client is to be told that the command reads no more */
    uint32_t under_way; /* bytes that the client sent and was not told about */
    struct chain queue;
};

/* tells: the client knows EXEC_TAKEN and EXEC_CLOSED. */
void run_input_init(struct run_input *input, bool tells);

/* The command has started. The pipe becomes the input's; the terminal is its output's. */
void run_input_begin(struct run_input *input, int pipe_fd);
void run_input_begin_terminal(struct run_input *input, struct pump *terminal);

/* Bytes from the client; none of them: the end. 0, -EPROTO (beyond the window) or -ENOMEM. */
int run_input_take(struct run_input *input, const void *bytes, size_t len);

/* Gives the command as much as it takes. */
void run_input_feed(struct run_input *input);

/* The command reads no more. */
void run_input_refuse(struct run_input *input);

/* Whether no further frame is to be read before the command has taken some. */
bool run_input_full(const struct run_input *input);

/* Makes the next frame that tells the client about its input. Its length, or 0. */
size_t run_input_report(struct run_input *input, uint8_t *ret_frame);

void run_input_done(struct run_input *input);

#endif
