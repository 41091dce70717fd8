// SPDX-License-Identifier: BSD-3-Clause
/* Line: a stream to an agent with the wire of qemu-ga, on which the end of each answer is known. */
#ifndef OUTBOARD_PROXY_QGA_LINE_H
#define OUTBOARD_PROXY_QGA_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint/qga_mark.h"
#include "proxy/flow.h"

struct qga_line;

/* None may be NULL but opened and is_full. */
struct qga_line_ops {
    void (*opened)(struct qga_line *line);
    /* Bytes of the answer. */
    void (*deliver)(struct qga_line *line, const char *bytes, size_t len);
    /* The answer has ended. */
    void (*answered)(struct qga_line *line);
    /* The stream has ended, and qga_line_close() was not called. */
    void (*lost)(struct qga_line *line, uint32_t reason);
    /* Whether no more is to be delivered until qga_line_resume(). */
    bool (*is_full)(struct qga_line *line);
};

struct qga_line {
    const struct qga_line_ops *ops;
    struct flow flow; /* without a stream: not connected */
    bool busy;        /* an answer is awaited */
    char *out;        /* lent to the stream */
    struct qga_mark mark;
};

void qga_line_init(struct qga_line *line, const struct qga_line_ops *ops);

/* Opens the stream. 0 or a negative errno of ob_stream_open(). */
int qga_line_open(struct qga_line *line, struct proxy *proxy, const char *service,
                  const char *metadata);
/* Ends it. One that is not open is fine. */
void qga_line_close(struct qga_line *line, uint32_t reason);

/* Writes a request, or nothing, and a sync behind it. 0 or a negative errno. */
int qga_line_ask(struct qga_line *line, const char *request, size_t len);

/* The receiver is no longer full. */
void qga_line_resume(struct qga_line *line);

#endif
