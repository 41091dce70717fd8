// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/proxy.h"

static int join(struct flow *flow, struct proxy *proxy, const struct flow_ops *ops,
                const char *service)
{
    *flow = (struct flow){.ops = ops, .proxy = proxy, .service = strdup(service)};
    list_init(&flow->link);
    if (!flow->service)
        return -ENOMEM;
    list_append(&proxy->flows, &flow->link);
    return 0;
}

int flow_take(struct flow *flow, struct proxy *proxy, const struct flow_ops *ops,
              struct ob_stream *stream, const char *service)
{
    int err = join(flow, proxy, ops, service);
    if (err < 0)
        return err;
    flow->stream = stream;
    flow->is_incoming = true;
    ob_stream_set_user(stream, flow);
    return 0;
}

int flow_open(struct flow *flow, struct proxy *proxy, const struct flow_ops *ops,
              const char *service, const char *metadata)
{
    int err = join(flow, proxy, ops, service);
    if (err == 0)
        err = ob_stream_open(proxy->session, service, strlen(service), metadata,
                             metadata ? strlen(metadata) : 0, &flow->stream);
    if (err < 0) {
        flow_end(flow, 0);
        return err;
    }
    ob_stream_set_user(flow->stream, flow);
    return 0;
}

void flow_move(struct flow *from, struct flow *to, const struct flow_ops *ops)
{
    *to = *from;
    to->ops = ops;
    list_init(&to->link);
    list_append(&to->proxy->flows, &to->link);
    ob_stream_set_user(to->stream, to);
    from->stream = NULL;
    from->service = NULL;
    list_remove(&from->link);
}

void flow_end(struct flow *flow, uint32_t reason)
{
    ob_stream_reset(flow->stream, reason);
    list_remove(&flow->link);
    free(flow->service);
    flow->stream = NULL;
    flow->service = NULL;
}

void flow_read_all(struct ob_session *session)
{
    for (struct ob_stream *stream; (stream = ob_session_next_readable(session));) {
        struct flow *flow = ob_stream_user(stream);
        if (flow && flow->ops->readable)
            flow->ops->readable(flow);
    }
}
