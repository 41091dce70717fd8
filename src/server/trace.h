// SPDX-License-Identifier: BSD-3-Clause
/* The trace of messages: each wire describes its own in a line (device/trace.h). */
#ifndef OUTBOARD_SERVER_TRACE_H
#define OUTBOARD_SERVER_TRACE_H

#include "device/trace.h"

struct engine;

/* A whole message, either way. */
struct trace_message {
    bool got; /* by the device program; else it is sent */
    const uint8_t *bytes;
    size_t len;
    unsigned num_fds;
};

/* A message, as its wire describes it. */
void trace_message(const struct engine *engine, bool got, const uint8_t *bytes, size_t len,
                   unsigned num_fds) __attribute__((cold));

/* engine_ops.trace of each wire. */
void mpqemu_trace(const struct engine *engine, const struct trace_message *message);
void vfio_user_trace(const struct engine *engine, const struct trace_message *message);
void vhost_user_trace(const struct engine *engine, const struct trace_message *message);

#endif
