// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/qga_line.h"

#include <stdlib.h>

#include "base/auto.h"

void qga_line_init(struct qga_line *line, const struct qga_line_ops *ops)
{
    *line = (struct qga_line){.ops = ops};
    list_init(&line->flow.link);
}

void qga_line_close(struct qga_line *line, uint32_t reason)
{
    if (line->flow.stream)
        flow_end(&line->flow, reason);
    free(take_ptr(&line->out));
    line->busy = false;
}

static void deliver(void *argument, const char *bytes, size_t len)
{
    struct qga_line *line = argument;
    line->ops->deliver(line, bytes, len);
}

static bool is_full(struct qga_line *line)
{
    return line->ops->is_full && line->ops->is_full(line);
}

static void lose(struct qga_line *line, uint32_t reason)
{
    qga_line_close(line, OB_REASON_CANCELLED);
    line->ops->lost(line, reason);
}

/* lost() and answered() may free the line: nothing here looks at it afterwards. */
void qga_line_resume(struct qga_line *line)
{
    while (line->flow.stream && !is_full(line)) {
        const void *bytes;
        bool ended;
        ssize_t len = ob_stream_peek(line->flow.stream, &bytes);
        if (len == 0)
            lose(line, OB_REASON_NONE);
        if (len <= 0)
            return;
        size_t taken = qga_mark_take(&line->mark, bytes, (size_t)len, deliver, line, &ended);
        ob_stream_consume(line->flow.stream, taken);
        if (ended) {
            line->busy = false;
            line->ops->answered(line);
            return;
        }
    }
}

static struct qga_line *line_of(struct flow *flow)
{
    return list_entry(flow, struct qga_line, flow);
}

static void on_opened(struct flow *flow)
{
    struct qga_line *line = line_of(flow);
    if (line->ops->opened)
        line->ops->opened(line);
}

static void on_readable(struct flow *flow)
{
    qga_line_resume(line_of(flow));
}

static void on_writable(struct flow *flow)
{
    free(take_ptr(&line_of(flow)->out));
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    lose(line_of(flow), reason);
}

static const struct flow_ops ops = {
    .opened = on_opened,
    .refused = on_refused,
    .readable = on_readable,
    .writable = on_writable,
    .reset = on_refused,
};

int qga_line_open(struct qga_line *line, struct proxy *proxy, const char *service,
                  const char *metadata)
{
    return flow_open(&line->flow, proxy, &ops, service, metadata);
}

int qga_line_ask(struct qga_line *line, const char *request, size_t len)
{
    free(take_ptr(&line->out));
    int err = qga_mark_compose(&line->mark, request, len, &line->out, &len);
    if (err < 0)
        return err;
    line->busy = true;
    return ob_stream_lend(line->flow.stream, line->out, len);
}
