// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where --trace goes: standard error, or a file that is appended to. Nothing waits for who reads
 * it: lines that there is no room for are dropped, and counted in the next one that is written.
 */
#ifndef OUTBOARD_PROGRAM_TRACE_H
#define OUTBOARD_PROGRAM_TRACE_H

#include <stdint.h>

#include <outboard/fault.h>

#include "os/log_sink.h"

struct trace {
    struct log_sink sink;
    struct log_sink error; /* standard error's, while lines go to a file of trace_redirect() */
    int fd;                /* the file; -1: standard error, whose lines begin with... */
    const char *prefix;    /* ...the program's name and a colon */
    uint64_t start_ns;     /* from which lines count their time */
    uint64_t dropped;
};

/* An empty path: standard error. 0 or the errno of opening the file, with the fault filled. */
int trace_open(struct trace *trace, const char *path, const char *program, struct ob_fault *fault);
/* Tells how many lines were dropped. One that was never opened is fine. */
void trace_close(struct trace *trace);

/* Lines go to this file from now on, which is taken over; -1: to standard error. -EINVAL: not a regular
 * file, of which no other call than write(2) is made. */
int trace_redirect(struct trace *trace, int fd);

/* Writes a line, with the time in front: seconds since trace_open(). */
void trace_write(struct trace *trace, const char *line);

#endif
