// SPDX-License-Identifier: BSD-3-Clause
/*
 * Writes whole lines to a descriptor that others share, and never waits for it.
 *
 * O_NONBLOCK belongs to the open file description, which the launcher and other programs have too,
 * so it is not set there. A pipe or a terminal is opened again, through /proc, to have a
 * description of our own. Where that can't be done a line goes into a pipe through splice(2), which
 * may be told not to wait, and to anything else when poll(2) says that there is room.
 *
 * A regular file is written to as it is: the kernel takes the bytes into its cache.
 */
#ifndef OUTBOARD_OS_LOG_SINK_H
#define OUTBOARD_OS_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

enum log_sink_kind {
    LOG_SINK_NONE,   /* it can't be written to */
    LOG_SINK_FILE,   /* written to without more ado */
    LOG_SINK_SOCKET, /* MSG_DONTWAIT */
    LOG_SINK_OWN,    /* opened again, O_NONBLOCK */
    LOG_SINK_ABSENT, /* a FIFO that nobody has open to read; to be opened again when somebody has */
    LOG_SINK_SPLICE,
    LOG_SINK_POLL,
};

struct log_sink {
    enum log_sink_kind kind;
    int fd;         /* the one that was given; the caller's */
    int own_fd;     /* LOG_SINK_OWN, or -1 */
    int pipe_fd[2]; /* LOG_SINK_SPLICE, or -1 */
    bool cut;       /* the last line lacks its end */
};

void log_sink_init(struct log_sink *sink, int fd);
/* From now on nothing is opened: a FIFO that somebody opens to read later gets lines by splice(2). */
void log_sink_settle(struct log_sink *sink);
void log_sink_done(struct log_sink *sink);

/* Writes a line, its newline included, all of it or nothing as far as the descriptor allows; up to
 * wait_ms are waited for room. 0, -EAGAIN when there is no room, or another errno. Sends no signal
 * to the program. */
int log_sink_write(struct log_sink *sink, const char *line, size_t len, int wait_ms);

#endif
