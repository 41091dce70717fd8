// SPDX-License-Identifier: BSD-3-Clause
/*
 * Codecs of the proxy: SOCKS5 and the frames of run. A prefix of a message is never a different
 * message, nothing is taken that is not there, and what decodes encodes to the same bytes.
 */
#include "wire/exec.h"
#include "wire/socks5.h"

#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void greetings(const uint8_t *in, size_t len)
{
    enum socks5_method method, again;
    ssize_t used = socks5_get_greeting(in, len, &method);
    CHECK(used == -EAGAIN || used == -EPROTO || (used >= 2 && (size_t)used <= len));
    if (used <= 0)
        return;
    CHECK(socks5_get_greeting(in, (size_t)used, &again) == used && again == method);
    CHECK(socks5_get_greeting(in, (size_t)used - 1, &again) == -EAGAIN);
}

/* What the server says has the version of what it answers, and nothing behind its end. */
static void answers(enum socks5_method method, enum socks5_reply reply)
{
    uint8_t choice[SOCKS5_METHOD_LEN], outcome[SOCKS5_REPLY_LEN];
    socks5_put_method(method, choice);
    socks5_put_reply(reply, outcome);
    CHECK(choice[0] == 5 && choice[1] == method && outcome[0] == 5 && outcome[1] == reply);
}

static void requests(const uint8_t *in, size_t len)
{
    struct socks5_request request, again;
    enum socks5_reply reply = SOCKS5_SUCCEEDED;
    ssize_t used = socks5_get_request(in, len, &request, &reply);
    CHECK(used == -EAGAIN || used == -EPROTO || (used > 0 && (size_t)used <= len));
    CHECK((used == -EPROTO) == (reply != SOCKS5_SUCCEEDED));
    answers(SOCKS5_NO_AUTHENTICATION, reply);
    if (used <= 0)
        return;
    CHECK(strlen(request.host) > 0 && !strpbrk(request.host, "[] "));
    CHECK(socks5_get_request(in, (size_t)used, &again, &reply) == used);
    CHECK(strcmp(again.host, request.host) == 0 && again.port == request.port);
    CHECK(socks5_get_request(in, (size_t)used - 1, &again, &reply) == -EAGAIN);
}

static size_t put(const struct exec_frame *frame, uint8_t *out)
{
    struct exec_start start;
    struct exec_exit exit;
    uint16_t rows, columns;
    uint32_t bytes;
    char variable[EXEC_VARIABLE_MAX + 1];
    int number;
    if (frame->type == EXEC_VARIABLE && exec_get_variable(frame, variable) == 0)
        return (size_t)exec_put_variable(variable, out);
    if (frame->type == EXEC_START && exec_get_start(frame, &start) == 0)
        return (size_t)exec_put_start(&start, out);
    if (frame->type == EXEC_SIGNAL && exec_get_signal(frame, &number) == 0)
        return exec_put_signal(number, out);
    if (frame->type == EXEC_RESIZE && exec_get_resize(frame, &rows, &columns) == 0)
        return exec_put_resize(rows, columns, out);
    if (frame->type == EXEC_TAKEN && exec_get_taken(frame, &bytes) == 0)
        return exec_put_taken(bytes, out);
    if (frame->type == EXEC_EXIT && exec_get_exit(frame, &exit) == 0)
        return exec_put_exit(&exit, out);
    return 0;
}

static void frames(const uint8_t *in, size_t len)
{
    static uint8_t out[EXEC_FRAME_MAX];
    struct exec_frame frame, again;
    ssize_t used = exec_get(in, len, &frame);
    CHECK(used == -EAGAIN || used == -EPROTO || (used >= EXEC_HEADER_LEN && (size_t)used <= len));
    if (used <= 0)
        return;
    CHECK(frame.len + EXEC_HEADER_LEN == (size_t)used);
    CHECK(exec_get(in, (size_t)used - 1, &again) == -EAGAIN);
    size_t put_len = put(&frame, out);
    CHECK(put_len == 0 || (put_len == (size_t)used && memcmp(out, in, put_len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exact size, so that a read behind the end is seen. */
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    greetings(copy, size);
    requests(copy, size);
    frames(copy, size);
    free(copy);
    return 0;
}
