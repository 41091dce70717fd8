// SPDX-License-Identifier: BSD-3-Clause
/*
 * The frames of `outboard proxy run` within its stream: a command's standard streams, signals and
 * exit status. docs/proxy.md specifies them.
 *
 * The client begins with one START; the server ends with one EXIT. A client that may talk to a
 * server of version 1 puts nothing in front of START.
 */
#ifndef OUTBOARD_WIRE_RUN_H
#define OUTBOARD_WIRE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_HEADER_LEN  4
#define RUN_PAYLOAD_MAX 16384
#define RUN_FRAME_MAX   (RUN_HEADER_LEN + RUN_PAYLOAD_MAX)

/* Bytes of arguments in START. */
#define RUN_START_ARGUMENTS_MAX (RUN_PAYLOAD_MAX - 5)

enum run_type {
    RUN_START = 1,  /* client: struct run_start, then the arguments, each ended by a NUL */
    RUN_STDIN = 2,  /* client: bytes; none of them: the end */
    RUN_SIGNAL = 3, /* client: u8, the signal's number */
    RUN_RESIZE = 4, /* client: u16 rows, u16 columns of the terminal */
    RUN_STDOUT = 5, /* server: bytes */
    RUN_STDERR = 6, /* server: bytes */
    RUN_EXIT = 7,   /* server: u8 kind, u32 status */
    /* Version 2, before START: */
    RUN_ARGUMENTS = 8, /* client: the first bytes of the arguments, of which START has the last */
    RUN_VARIABLE = 9,  /* client: NAME=VALUE, for the command's environment */
};

enum run_exit_kind {
    RUN_EXITED = 0,     /* status is what the command gave to exit() */
    RUN_SIGNALLED = 1,  /* status is the number of the signal that killed it */
    RUN_NOT_STARTED = 2 /* status is the errno of exec */
};

#define RUN_VARIABLE_MAX 255

struct run_frame {
    enum run_type type;
    const uint8_t *payload;
    size_t len;
};

struct run_start {
    bool terminal; /* give the command a pseudo terminal */
    uint16_t rows, columns;
    const char *arguments; /* each ended by a NUL; none: what the service declares */
    size_t arguments_len;
};

struct run_exit {
    enum run_exit_kind kind;
    uint32_t status;
};

/* Looks at the first frame in bytes. Returns its length, -EAGAIN (not all there) or -EPROTO. The
 * payload lies in bytes. */
ssize_t run_get(const void *bytes, size_t len, struct run_frame *ret_frame);

/* Payloads. 0 or -EPROTO. */
int run_get_variable(const struct run_frame *frame, char ret_variable[RUN_VARIABLE_MAX + 1]);
int run_get_start(const struct run_frame *frame, struct run_start *ret_start);
int run_get_signal(const struct run_frame *frame, int *ret_signal);
int run_get_resize(const struct run_frame *frame, uint16_t *ret_rows, uint16_t *ret_columns);
int run_get_exit(const struct run_frame *frame, struct run_exit *ret_exit);

/* The header of a frame whose payload of len bytes follows. */
void run_put_header(enum run_type type, size_t len, uint8_t ret_bytes[RUN_HEADER_LEN]);
/* Whole frames. Return their length; start: -E2BIG when there are more than
 * RUN_START_ARGUMENTS_MAX bytes of arguments; variable: -E2BIG when it is too long. */
ssize_t run_put_variable(const char *variable, uint8_t ret_bytes[RUN_FRAME_MAX]);
ssize_t run_put_start(const struct run_start *start, uint8_t ret_bytes[RUN_FRAME_MAX]);
size_t run_put_signal(int signal, uint8_t ret_bytes[RUN_FRAME_MAX]);
size_t run_put_resize(uint16_t rows, uint16_t columns, uint8_t ret_bytes[RUN_FRAME_MAX]);
size_t run_put_exit(const struct run_exit *exit, uint8_t ret_bytes[RUN_FRAME_MAX]);

#endif
