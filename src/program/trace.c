// SPDX-License-Identifier: BSD-3-Clause
#include "program/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/trace.h"
#include "os/clock.h"

#define LINE_LEN  (TRACE_LINE_LEN + 128)
#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_US 1000u

int trace_open(struct trace *trace, const char *path, const char *program, struct ob_fault *fault)
{
    /* A FIFO is opened without waiting for its reader, and there must be one. */
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = *path ? open(path, flags, 0600) : -1;
    if (*path && fd < 0)
        return ob_fault_set(fault, -errno, "--trace: can't open %s: %s", path, strerror(errno));
    *trace = (struct trace){.fd = fd, .prefix = program, .start_ns = clock_now_ns()};
    log_sink_init(&trace->sink, *path ? fd : STDERR_FILENO);
    log_sink_settle(&trace->sink);
    return 0;
}

int trace_redirect(struct trace *trace, int fd)
{
    struct stat stat;
    if (fd >= 0 && (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode)))
        return -EINVAL;
    if (fd < 0 && trace->fd < 0)
        return 0;
    if (trace->fd >= 0) {
        log_sink_done(&trace->sink);
        close(trace->fd);
    } else {
        trace->error = trace->sink; /* in a cell it can't be opened once more */
    }
    trace->fd = fd;
    if (fd >= 0)
        log_sink_init(&trace->sink, fd);
    else
        trace->sink = trace->error;
    return 0;
}

static int put(struct trace *trace, const char *line)
{
    char text[LINE_LEN];
    uint64_t ns = clock_now_ns() - trace->start_ns;
    const bool has_prefix = trace->fd < 0;
    int len = snprintf(text, sizeof(text) - 1, "%.64s%s%" PRIu64 ".%06" PRIu64 " %s",
                       has_prefix ? trace->prefix : "", has_prefix ? ": " : "", ns / NS_PER_S,
                       ns % NS_PER_S / NS_PER_US, line);
    if (len < 0)
        return -EINVAL;
    size_t used = strlen(text);
    text[used++] = '\n';
    return log_sink_write(&trace->sink, text, used, 0);
}

/* Whether nothing remains to be told. */
static bool tell_drops(struct trace *trace)
{
    char text[64];
    if (trace->dropped == 0)
        return true;
    snprintf(text, sizeof(text), "... %" PRIu64 " lines dropped", trace->dropped);
    if (put(trace, text) < 0)
        return false;
    trace->dropped = 0;
    return true;
}

void trace_write(struct trace *trace, const char *line)
{
    if (!tell_drops(trace) || put(trace, line) < 0)
        trace->dropped++;
}

void trace_close(struct trace *trace)
{
    if (!trace->prefix)
        return;
    tell_drops(trace);
    log_sink_done(&trace->sink);
    if (trace->fd >= 0)
        close(trace->fd);
    trace->prefix = NULL;
}
