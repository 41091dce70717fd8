// SPDX-License-Identifier: BSD-3-Clause
/* The qemu-ga of the other end, over a stream, for any number of clients (endpoint/qga_turns.h). */
#include "proxy/qga_front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/acceptor.h"
#include "endpoint/qga_turns.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"

struct qga_front {
    struct proxy *proxy;
    struct acceptor *acceptor;
    struct flow flow; /* without a stream: qemu-ga is not connected */
    struct qga_turns turns;
};

static void on_readable(struct flow *flow)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    const void *bytes;
    ssize_t len = 0;
    while (front->flow.stream && (len = ob_stream_peek(front->flow.stream, &bytes)) > 0) {
        bool ended;
        size_t taken = qga_turns_take(&front->turns, bytes, (size_t)len, &ended);
        ob_stream_consume(front->flow.stream, taken);
        if (ended)
            qga_turns_answered(&front->turns);
    }
    if (front->flow.stream && len == 0)
        qga_turns_lost(&front->turns, "it has ended");
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    qga_turns_lost(&front->turns, reason_text(reason));
}

static void on_writable(struct flow *flow)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    qga_turns_sent(&front->turns);
}

static const struct flow_ops flow_ops = {
    .refused = on_refused,
    .readable = on_readable,
    .writable = on_writable,
    .reset = on_refused,
};

static int connect_to_agent(struct qga_turns *turns)
{
    struct qga_front *front = list_entry(turns, struct qga_front, turns);
    return flow_open(&front->flow, front->proxy, &flow_ops, QGA_SERVICE, NULL);
}

static int send_to_agent(struct qga_turns *turns, const char *bytes, size_t len)
{
    struct qga_front *front = list_entry(turns, struct qga_front, turns);
    return ob_stream_lend(front->flow.stream, bytes, len);
}

static void disconnect(struct qga_turns *turns)
{
    struct qga_front *front = list_entry(turns, struct qga_front, turns);
    if (front->flow.stream)
        flow_end(&front->flow, OB_REASON_CANCELLED);
}

static void set_timer(struct qga_turns *turns, struct timer *timer, uint64_t at_ns)
{
    struct qga_front *front = list_entry(turns, struct qga_front, turns);
    timer_set(&front->proxy->timers, timer, at_ns);
}

static const struct qga_turns_ops turns_ops = {
    .connect = connect_to_agent,
    .send = send_to_agent,
    .disconnect = disconnect,
    .set_timer = set_timer,
};

static void on_connection(void *argument, int fd)
{
    struct qga_front *front = argument;
    qga_turns_add(&front->turns, fd);
}

int qga_front_new(struct proxy *proxy, struct qga_front **ret_front, struct ob_fault *fault)
{
    const char *path = proxy->options->stock_qga;
    struct address address;
    *ret_front = NULL;
    if (!path)
        return 0;
    struct qga_front *front = calloc(1, sizeof(*front));
    if (!front)
        return ob_fault_set(fault, -ENOMEM, "no memory for --stock-qga-socket");
    front->proxy = proxy;
    list_init(&front->flow.link);
    qga_turns_init(&front->turns, proxy->loop, &turns_ops);
    front->turns.policy = &proxy->options->requests;
    const struct acceptor_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .mode = proxy->options->socket_mode,
        .title = "the socket of --stock-qga-socket",
        .outside = proxy->dialer.outside,
        .accepted = on_connection,
        .argument = front,
    };
    int err = address_parse_path(path, &address, fault);
    if (err == 0)
        err = acceptor_new(&address, &config, &front->acceptor);
    if (err < 0) {
        free(front);
        return ob_fault_set(fault, err, "can't listen at %.180s: %s", path, strerror(-err));
    }
    *ret_front = front;
    return 0;
}

void qga_front_free(struct qga_front *front)
{
    if (!front)
        return;
    if (front->flow.stream)
        flow_end(&front->flow, OB_REASON_SHUTDOWN);
    qga_turns_done(&front->turns);
    acceptor_free(front->acceptor);
    free(front);
}
