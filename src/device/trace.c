// SPDX-License-Identifier: BSD-3-Clause
#include "device/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "device/internal.h"

static __attribute__((format(printf, 2, 0))) void add(struct trace_line *line, const char *format,
                                                      va_list args)
{
    size_t room = sizeof(line->text) - line->len;
    int len = vsnprintf(line->text + line->len, room, format, args);
    if (len > 0)
        line->len += (size_t)len < room ? (size_t)len : room - 1;
}

void trace_add(struct trace_line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(line, format, args);
    va_end(args);
}

void trace_add_value(struct trace_line *line, const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    if (len < 1 || len > sizeof(value))
        return;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    trace_add(line, " value 0x%" PRIx64, value);
}

void trace_add_text(struct trace_line *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len && text[i] && line->len + 1 < sizeof(line->text); i++)
        line->text[line->len++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    line->text[line->len] = '\0';
}

void trace_end(const struct ob_device *device, const struct trace_line *line)
{
    if (line->len > 0)
        device->host->trace(device->host->context, line->text);
}

void trace_say(const struct ob_device *device, const char *format, ...)
{
    struct trace_line line = {0};
    va_list args;
    va_start(args, format);
    add(&line, format, args);
    va_end(args);
    trace_end(device, &line);
}
