// SPDX-License-Identifier: BSD-3-Clause
/*
 * The log: messages for a person go to standard error through here, a line each
 * with the program's name in front.
 *
 * A line is printable whatever bytes of a peer are in it, lines of one kind come at a bounded rate
 * ("... and 23,990 more like this: ..."), and nothing waits for the reader: lines without
 * room are dropped and counted ("... 12 lines dropped"). The one thing that may still take time
 * is a regular file on a file system that hangs.
 *
 * Any thread.
 */
#ifndef OUTBOARD_OS_LOG_H
#define OUTBOARD_OS_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* The first thing that a program calls. Opens those of descriptors 0 to 2 that are closed, has
 * SIGPIPE and SIGXFSZ ignored unless the program handles them, and puts `program` before each line;
 * it is kept, not copied. 0, or a negative errno, with which the program is to end: it is not safe
 * to open anything. */
int log_start(const char *program);

/* The name before each line, of log_start(). */
const char *log_program(void);

/* Before the program becomes another one: the signals are as log_start() found them. */
void log_give_back_signals(void);

/* Opens the way that lines take, as the first line does otherwise: for a program that will have no
 * paths. */
void log_prepare(void);

/* From now on nothing waits. Before, as a command does that ends soon, a line waits for room until
 * one has waited for a second without success. */
void log_never_wait(void);

/* While true, lines wait in memory, as many as fit into LIMIT_LOG_HELD bytes: for when a file system
 * must not be written to. Then they are written. */
void log_hold(bool hold);

/* If this socket or pipe is standard error too (inetd, "2>&1"), there is no log from now on: its
 * lines would stand amid the bytes for the peer. */
void log_keep_off(int fd);

/* A line, without a newline at its end. `format` is the kind of the line. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

void log_line_args(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

/* A line that is composed already, of the kind that another format names. */
void log_line_of(const char *kind, const char *text);

/* A line that only log_set_verbose(true) has printed; more of a kind may come at once. */
void log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_set_verbose(bool verbose);

/* Prints the counts of skipped and dropped lines, when they are due; the loop calls it. Returns when it is to be
 * called again by clock_now_ns(), UINT64_MAX: when another line is skipped or dropped. */
uint64_t log_tick(void);
/* The same, for all that was skipped and dropped, due or not; at the program's end. */
void log_flush(void);

/* Closes the descriptors that log_start() and the first line opened: for tests, and for a child that puts its
 * descriptors in order. */
void log_end(void);

#endif
