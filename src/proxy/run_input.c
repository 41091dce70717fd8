// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/run_input.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "wire/exec.h"

#define END_OF_FILE 4 /* the byte that a terminal takes for the end: control-D */

static_assert(LIMIT_RUN_INPUT == EXEC_INPUT_WINDOW, "a client's bytes have room");

void run_input_init(struct run_input *input, bool tells)
{
    *input = (struct run_input){.tells = tells};
    pump_init(&input->pipe, -1);
}

void run_input_begin(struct run_input *input, int pipe_fd)
{
    pump_init(&input->pipe, pipe_fd);
    input->pump = &input->pipe;
}

void run_input_begin_terminal(struct run_input *input, struct pump *terminal)
{
    input->pump = terminal;
    input->is_terminal = true;
}

static bool is_open(const struct run_input *input)
{
    return input->pump && input->pump->fd >= 0;
}

static void close_pipe(struct run_input *input)
{
    int fd = pump_stop(&input->pipe);
    auto_close(&fd);
    input->pump = NULL;
}

/* Once the command has taken everything before it. */
static void tell_end(struct run_input *input)
{
    char end = END_OF_FILE;
    const struct iovec span = {.iov_base = &end, .iov_len = 1};
    if (input->told_end || !is_open(input))
        return;
    input->told_end = true;
    if (input->is_terminal) {
        ssize_t put = pump_write(input->pump, &span, 1);
        (void)put; /* a terminal that is full of input has a command that does not wait for it */
    } else {
        close_pipe(input);
    }
}

void run_input_refuse(struct run_input *input)
{
    chain_clear(&input->queue);
    if (input->is_terminal || !is_open(input))
        return; /* a terminal may be opened again */
    close_pipe(input);
    input->closed_due = input->tells && !input->ended;
}

void run_input_feed(struct run_input *input)
{
    const uint8_t *bytes;
    while (input->queue.len && is_open(input) && input->pump->writable) {
        size_t len = chain_peek(&input->queue, 0, &bytes);
        const struct iovec span = {.iov_base = (void *)bytes, .iov_len = len};
        ssize_t put = pump_write(input->pump, &span, 1);
        if (put >= 0)
            chain_consume(&input->queue, (size_t)put);
        else if (put != -EAGAIN)
            run_input_refuse(input);
    }
    if (input->ended && !input->queue.len)
        tell_end(input);
}

int run_input_take(struct run_input *input, const void *bytes, size_t len)
{
    if (len == 0)
        input->ended = true;
    if (input->tells && len > LIMIT_RUN_INPUT - input->under_way)
        return -EPROTO;
    input->under_way += input->tells ? (uint32_t)len : 0;
    if (!is_open(input) || input->told_end)
        return 0; /* it goes nowhere */
    return chain_append(&input->queue, bytes, len);
}

bool run_input_full(const struct run_input *input)
{
    return !input->tells && input->queue.len >= LIMIT_RUN_INPUT;
}

size_t run_input_report(struct run_input *input, uint8_t *ret_frame)
{
    if (input->closed_due) {
        input->closed_due = false;
        exec_put_header(EXEC_CLOSED, 0, ret_frame);
        return EXEC_HEADER_LEN;
    }
    if (!input->tells)
        return 0;
    uint32_t taken = input->under_way - (uint32_t)input->queue.len;
    if (taken < EXEC_INPUT_WINDOW / 2)
        return 0;
    input->under_way -= taken;
    return exec_put_taken(taken, ret_frame);
}

void run_input_done(struct run_input *input)
{
    close_pipe(input);
    chain_clear(&input->queue);
}
