// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/run_input.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/loop.h"
#include "wire/exec.h"

#define END_OF_FILE 4 /* what a terminal takes for the end: control-D */

static_assert(LIMIT_RUN_INPUT == EXEC_INPUT_WINDOW, "what a client may send has room");

void run_input_init(struct run_input *input, bool tells)
{
    *input = (struct run_input){.fd = -1, .tells = tells};
}

void run_input_begin(struct run_input *input, int fd, bool is_terminal)
{
    input->fd = fd;
    input->is_terminal = is_terminal;
}

static void close_fd(struct run_input *input)
{
    loop_remove(take_ptr(&input->source));
    if (input->fd >= 0 && !input->is_terminal)
        close(input->fd);
    input->fd = -1;
}

/* Once the command has taken everything before it. */
static void tell_end(struct run_input *input)
{
    const char end = END_OF_FILE;
    if (input->told_end || input->fd < 0)
        return;
    input->told_end = true;
    if (input->is_terminal) {
        ssize_t put = write(input->fd, &end, 1);
        (void)put; /* a terminal that is full of input has a command that does not wait for it */
    } else {
        close_fd(input);
    }
}

void run_input_refuse(struct run_input *input)
{
    chain_clear(&input->queue);
    if (input->is_terminal || input->fd < 0)
        return; /* a terminal may be opened again */
    close_fd(input);
    input->closed_due = input->tells && !input->ended;
}

void run_input_feed(struct run_input *input)
{
    const uint8_t *bytes;
    while (input->queue.len && input->is_writable && input->fd >= 0) {
        size_t len = chain_peek(&input->queue, 0, &bytes);
        ssize_t put = write(input->fd, bytes, len);
        if (put >= 0)
            chain_consume(&input->queue, (size_t)put);
        else if (errno == EAGAIN)
            input->is_writable = false;
        else
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
    if (input->fd < 0 || input->told_end)
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
    close_fd(input);
    chain_clear(&input->queue);
}
