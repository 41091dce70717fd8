// SPDX-License-Identifier: BSD-3-Clause
/*
 * Trace: a line for each message of a peer, with the register access that it asks for, and for events
 * of the device beside the messages (doorbells, interrupts). For authors of
 * devices and VMMs.
 *
 * Who has something to trace asks ob_device.traces first, so that a trace which is off costs a
 * branch; nothing is formatted before.
 */
#ifndef OUTBOARD_DEVICE_TRACE_H
#define OUTBOARD_DEVICE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ob_device;

#define TRACE_LINE_LEN 512u

/* A line that grows; its end is cut off where it does not fit. */
struct trace_line {
    char text[TRACE_LINE_LEN];
    size_t len;
};

static inline bool trace_is_on(bool traces)
{
    return __builtin_expect(traces, false);
}

void trace_add(struct trace_line *line, const char *format, ...)
    __attribute__((cold, format(printf, 2, 3)));
/* Bytes of a peer: one to eight as a number, others not. */
void trace_add_value(struct trace_line *line, const uint8_t *bytes, size_t len)
    __attribute__((cold));
/* Text of a peer, as far as it can be printed. */
void trace_add_text(struct trace_line *line, const char *text, size_t len) __attribute__((cold));
/* Gives the line away. */
void trace_end(const struct ob_device *device, const struct trace_line *line) __attribute__((cold));

/* A whole line. */
void trace_say(const struct ob_device *device, const char *format, ...)
    __attribute__((cold, format(printf, 2, 3)));

#endif
