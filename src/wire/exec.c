// SPDX-License-Identifier: BSD-3-Clause
#include "wire/exec.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"

#define SIGNAL_MAX    64
#define FLAG_TERMINAL 1

/*  0 type u8 | 1 zero u8 | 2 length u16 | 4 payload */
ssize_t exec_get(const void *bytes, size_t len, struct exec_frame *ret_frame)
{
    if (len < EXEC_HEADER_LEN)
        return -EAGAIN;
    struct rd rd = rd_init(bytes, len);
    uint8_t type = rd_u8(&rd);
    uint8_t zero = rd_u8(&rd);
    uint16_t payload_len = rd_u16(&rd);
    if (type < EXEC_START || type > EXEC_CLOSED || zero != 0 || payload_len > EXEC_PAYLOAD_MAX)
        return -EPROTO;
    if (rd.left < payload_len)
        return -EAGAIN;
    *ret_frame = (struct exec_frame){.type = type, .payload = rd.at, .len = payload_len};
    return EXEC_HEADER_LEN + payload_len;
}

void exec_put_header(enum exec_type type, size_t len, uint8_t ret_bytes[EXEC_HEADER_LEN])
{
    struct wr wr = wr_init(ret_bytes, EXEC_HEADER_LEN);
    wr_u8(&wr, (uint8_t)type);
    wr_u8(&wr, 0);
    wr_u16(&wr, (uint16_t)len);
}

/* The writer of a payload; finish() puts the header in front of it. */
static struct wr begin(uint8_t *bytes)
{
    return wr_init(bytes + EXEC_HEADER_LEN, EXEC_PAYLOAD_MAX);
}

static size_t finish(enum exec_type type, const struct wr *wr, uint8_t *bytes)
{
    exec_put_header(type, wr->len, bytes);
    return EXEC_HEADER_LEN + wr->len;
}

/*  0 flags u8 | 1 rows u16 | 3 columns u16 | 5 arguments */
int exec_get_start(const struct exec_frame *frame, struct exec_start *ret_start)
{
    struct rd rd = rd_init(frame->payload, frame->len);
    uint8_t flags = rd_u8(&rd);
    struct exec_start start = {.terminal = flags & FLAG_TERMINAL};
    start.rows = rd_u16(&rd);
    start.columns = rd_u16(&rd);
    start.arguments = (const char *)rd.at;
    start.arguments_len = rd.left;
    if (rd.bad || flags & ~FLAG_TERMINAL)
        return -EPROTO;
    if (start.arguments_len > 0 && start.arguments[start.arguments_len - 1] != '\0')
        return -EPROTO;
    *ret_start = start;
    return 0;
}

ssize_t exec_put_start(const struct exec_start *start, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    if (start->arguments_len > EXEC_START_ARGUMENTS_MAX)
        return -E2BIG;
    wr_u8(&wr, start->terminal ? FLAG_TERMINAL : 0);
    wr_u16(&wr, start->rows);
    wr_u16(&wr, start->columns);
    wr_bytes(&wr, start->arguments, start->arguments_len);
    return (ssize_t)finish(EXEC_START, &wr, ret_bytes);
}

/* NAME=VALUE without control characters. */
int exec_get_variable(const struct exec_frame *frame, char ret_variable[EXEC_VARIABLE_MAX + 1])
{
    char variable[EXEC_VARIABLE_MAX + 1];
    struct rd rd = rd_init(frame->payload, frame->len);
    size_t len = frame->len;
    if (len > EXEC_VARIABLE_MAX)
        return -EPROTO;
    rd_bytes(&rd, variable, len);
    variable[len] = '\0';
    const char *equals = memchr(variable, '=', len);
    if (!equals || equals == variable || strlen(variable) != len)
        return -EPROTO;
    for (const char *at = variable; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return -EPROTO;
    }
    memcpy(ret_variable, variable, len + 1);
    return 0;
}

ssize_t exec_put_variable(const char *variable, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    size_t len = strlen(variable);
    if (len > EXEC_VARIABLE_MAX)
        return -E2BIG;
    wr_bytes(&wr, variable, len);
    return (ssize_t)finish(EXEC_VARIABLE, &wr, ret_bytes);
}

int exec_get_signal(const struct exec_frame *frame, int *ret_signal)
{
    struct rd rd = rd_init(frame->payload, frame->len);
    int number = rd_u8(&rd);
    if (rd_done(&rd) < 0 || number < 1 || number > SIGNAL_MAX)
        return -EPROTO;
    *ret_signal = number;
    return 0;
}

size_t exec_put_signal(int signal, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    wr_u8(&wr, (uint8_t)signal);
    return finish(EXEC_SIGNAL, &wr, ret_bytes);
}

int exec_get_resize(const struct exec_frame *frame, uint16_t *ret_rows, uint16_t *ret_columns)
{
    struct rd rd = rd_init(frame->payload, frame->len);
    uint16_t rows = rd_u16(&rd);
    uint16_t columns = rd_u16(&rd);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_rows = rows;
    *ret_columns = columns;
    return 0;
}

size_t exec_put_resize(uint16_t rows, uint16_t columns, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    wr_u16(&wr, rows);
    wr_u16(&wr, columns);
    return finish(EXEC_RESIZE, &wr, ret_bytes);
}

int exec_get_taken(const struct exec_frame *frame, uint32_t *ret_bytes)
{
    struct rd rd = rd_init(frame->payload, frame->len);
    uint32_t bytes = rd_u32(&rd);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_bytes = bytes;
    return 0;
}

size_t exec_put_taken(uint32_t bytes, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    wr_u32(&wr, bytes);
    return finish(EXEC_TAKEN, &wr, ret_bytes);
}

int exec_get_exit(const struct exec_frame *frame, struct exec_exit *ret_exit)
{
    struct rd rd = rd_init(frame->payload, frame->len);
    uint8_t kind = rd_u8(&rd);
    uint32_t status = rd_u32(&rd);
    if (rd_done(&rd) < 0 || kind > EXEC_NOT_STARTED)
        return -EPROTO;
    *ret_exit = (struct exec_exit){.kind = kind, .status = status};
    return 0;
}

size_t exec_put_exit(const struct exec_exit *exit, uint8_t ret_bytes[EXEC_FRAME_MAX])
{
    struct wr wr = begin(ret_bytes);
    wr_u8(&wr, (uint8_t)exit->kind);
    wr_u32(&wr, exit->status);
    return finish(EXEC_EXIT, &wr, ret_bytes);
}
