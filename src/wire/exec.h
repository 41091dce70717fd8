// SPDX-License-Identifier: BSD-3-Clause
/*
 * The frames of `outboard proxy run` within its stream: a command's standard streams, signals and
 * exit status. outboard-control(5) specifies them.
 *
 * The client begins with one START; the server ends with one EXIT. A client that may talk to a
 * server of version 1 puts nothing in front of START.
 */
#ifndef OUTBOARD_WIRE_EXEC_H
#define OUTBOARD_WIRE_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXEC_HEADER_LEN  4
#define EXEC_PAYLOAD_MAX 16384
#define EXEC_FRAME_MAX   (EXEC_HEADER_LEN + EXEC_PAYLOAD_MAX)

/* Bytes of STDIN that a client of version 3 may have sent without being told that they are taken.
 */
#define EXEC_INPUT_WINDOW 262144u

/* Bytes of arguments in START. */
#define EXEC_START_ARGUMENTS_MAX (EXEC_PAYLOAD_MAX - 5)

enum exec_type {
    EXEC_START = 1,  /* client: struct exec_start, then the arguments, each ended by a NUL */
    EXEC_STDIN = 2,  /* client: bytes; none of them: the end */
    EXEC_SIGNAL = 3, /* client: u8, the signal's number */
    EXEC_RESIZE = 4, /* client: u16 rows, u16 columns of the terminal */
    EXEC_STDOUT = 5, /* server: bytes */
    EXEC_STDERR = 6, /* server: bytes */
    EXEC_EXIT = 7,   /* server: u8 kind, u32 status */
    /* Version 2, before START: */
    EXEC_ARGUMENTS = 8, /* client: the first bytes of the arguments, of which START has the last */
    EXEC_VARIABLE = 9,  /* client: NAME=VALUE, for the command's environment */
    /* Version 3: */
    EXEC_TAKEN = 10,  /* server: u32, the number of further bytes of STDIN that were taken */
    EXEC_CLOSED = 11, /* server: the command reads no more, so send no more STDIN */
};

enum exec_exit_kind {
    EXEC_EXITED = 0,     /* status is the command's argument of exit() */
    EXEC_SIGNALLED = 1,  /* status is the number of the signal that killed it */
    EXEC_NOT_STARTED = 2 /* status is the errno of exec */
};

#define EXEC_VARIABLE_MAX 255

struct exec_frame {
    enum exec_type type;
    const uint8_t *payload;
    size_t len;
};

struct exec_start {
    bool terminal; /* give the command a pseudo terminal */
    uint16_t rows, columns;
    const char *arguments; /* each ended by a NUL; none: the command of the service */
    size_t arguments_len;
};

struct exec_exit {
    enum exec_exit_kind kind;
    uint32_t status;
};

/* Looks at the first frame in bytes. Returns its length, -EAGAIN (not all there) or -EPROTO. The
 * payload lies in bytes. */
ssize_t exec_get(const void *bytes, size_t len, struct exec_frame *ret_frame);

/* Payloads. 0 or -EPROTO. */
int exec_get_variable(const struct exec_frame *frame, char ret_variable[EXEC_VARIABLE_MAX + 1]);
int exec_get_start(const struct exec_frame *frame, struct exec_start *ret_start);
int exec_get_signal(const struct exec_frame *frame, int *ret_signal);
int exec_get_resize(const struct exec_frame *frame, uint16_t *ret_rows, uint16_t *ret_columns);
int exec_get_taken(const struct exec_frame *frame, uint32_t *ret_bytes);
int exec_get_exit(const struct exec_frame *frame, struct exec_exit *ret_exit);

/* The header of a frame whose payload of len bytes follows. */
void exec_put_header(enum exec_type type, size_t len, uint8_t ret_bytes[EXEC_HEADER_LEN]);
/* Whole frames. Return their length; start: -E2BIG when there are more than
 * EXEC_START_ARGUMENTS_MAX bytes of arguments; variable: -E2BIG when it is too long. */
ssize_t exec_put_variable(const char *variable, uint8_t ret_bytes[EXEC_FRAME_MAX]);
ssize_t exec_put_start(const struct exec_start *start, uint8_t ret_bytes[EXEC_FRAME_MAX]);
size_t exec_put_signal(int signal, uint8_t ret_bytes[EXEC_FRAME_MAX]);
size_t exec_put_resize(uint16_t rows, uint16_t columns, uint8_t ret_bytes[EXEC_FRAME_MAX]);
size_t exec_put_taken(uint32_t bytes, uint8_t ret_bytes[EXEC_FRAME_MAX]);
size_t exec_put_exit(const struct exec_exit *exit, uint8_t ret_bytes[EXEC_FRAME_MAX]);

#endif
