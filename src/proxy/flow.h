// SPDX-License-Identifier: BSD-3-Clause
/*
 * Flow: the object at our end of a stream. The session's events reach it through its ops; it owns
 * the stream.
 */
#ifndef OUTBOARD_PROXY_FLOW_H
#define OUTBOARD_PROXY_FLOW_H

#include <outboard/session.h>
#include <stdbool.h>

#include "base/list.h"

struct flow;
struct proxy;

/* Events of struct ob_session_events; `readable` comes from flow_read_all(). Those that a kind of
 * flow does not care for are NULL. */
struct flow_ops {
    void (*opened)(struct flow *flow);
    void (*refused)(struct flow *flow, uint32_t reason);
    void (*readable)(struct flow *flow);
    void (*writable)(struct flow *flow);
    void (*finished)(struct flow *flow);
    /* The stream is over. The flow frees itself. */
    void (*reset)(struct flow *flow, uint32_t reason);
};

struct flow {
    const struct flow_ops *ops;
    struct proxy *proxy;
    struct list link; /* proxy.flows */
    struct ob_stream *stream;
    char *service;    /* as OPEN said it, for people to read */
    bool is_incoming; /* the peer opened it */
};

/* Takes over a stream that the peer opened. service is copied. 0 or -ENOMEM, when the stream is the
 * caller's still. */
int flow_take(struct flow *flow, struct proxy *proxy, const struct flow_ops *ops,
              struct ob_stream *stream, const char *service);

/* Opens a stream. 0 or a negative errno of ob_stream_open(). */
int flow_open(struct flow *flow, struct proxy *proxy, const struct flow_ops *ops,
              const char *service, const char *metadata);

/* Makes `to` the flow at the end of from's stream; from is empty afterwards. */
void flow_move(struct flow *from, struct flow *to, const struct flow_ops *ops);

/* Gives up the stream as ob_stream_reset() does, and the flow's memory. An empty flow is fine. */
void flow_end(struct flow *flow, uint32_t reason);

/* Lets each flow read the bytes that have come for its stream since the last call. */
void flow_read_all(struct ob_session *session);

#endif
