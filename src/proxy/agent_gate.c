// SPDX-License-Identifier: BSD-3-Clause
/*
 * The stream is opened first. Once the other end has accepted it, the client is answered, and its
 * requests are taken one by one. While one is carried out, or the client does not read its answer,
 * nothing more is taken from either.
 */
#include "proxy/agent_gate.h"

#include <errno.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/qga_client.h"
#include "os/socket.h"
#include "proxy/proxy.h"
#include "proxy/qga_line.h"
#include "proxy/reason.h"
#include "proxy/service.h"

struct gate {
    struct proxy *proxy;
    struct list link; /* proxy.agent.gates */
    struct qga_line line;
    struct qga_client *client; /* NULL: the stream is not open yet, and */
    int fd;                    /* is the client's socket */
    relay_answer_fn answer;    /* NULL: answered, or nobody asked */
};

static struct gate *gate_of(struct qga_line *line)
{
    return list_entry(line, struct gate, line);
}

static void destroy(struct gate *gate, uint32_t reason)
{
    gate->proxy->agent.gates.count--;
    list_remove(&gate->link);
    qga_line_close(&gate->line, reason);
    if (gate->client)
        qga_client_free(gate->client);
    if (gate->fd >= 0)
        socket_close(take_fd(&gate->fd));
    free(gate);
}

static void give_answer(struct gate *gate, uint32_t reason)
{
    relay_answer_fn answer = take_ptr(&gate->answer);
    if (answer)
        answer(gate->fd, reason);
    else if (reason != OB_REASON_NONE)
        proxy_log("%s: refused: %s", AGENT_SERVICE, reason_text(reason));
}

static void on_client(void *argument, struct qga_client *client, bool gone)
{
    struct gate *gate = argument;
    if (gone)
        destroy(gate, OB_REASON_NONE);
    else if (gate->line.busy)
        qga_line_resume(&gate->line);
    else if (qga_line_ask(&gate->line, client->frame.bytes, client->frame.len) < 0)
        destroy(gate, OB_REASON_FAILED);
}

static void on_opened(struct qga_line *line)
{
    struct gate *gate = gate_of(line);
    struct proxy *proxy = gate->proxy;
    give_answer(gate, OB_REASON_NONE);
    if (qga_client_new(proxy->loop, take_fd(&gate->fd), on_client, gate, &gate->client) < 0)
        destroy(gate, OB_REASON_NO_MEMORY);
    else
        gate->client->policy = &proxy->options->requests;
}

static void on_delivery(struct qga_line *line, const char *bytes, size_t len)
{
    qga_client_put(gate_of(line)->client, bytes, len);
}

static void on_answered(struct qga_line *line)
{
    qga_client_answered(gate_of(line)->client);
}

/* The client sees the end of its connection, and no later answer. */
static void on_lost(struct qga_line *line, uint32_t reason)
{
    struct gate *gate = gate_of(line);
    if (!gate->client)
        give_answer(gate, reason);
    destroy(gate, OB_REASON_NONE);
}

static bool is_full(struct qga_line *line)
{
    const struct gate *gate = gate_of(line);
    return !gate->client || qga_client_is_full(gate->client);
}

static const struct qga_line_ops ops = {
    .opened = on_opened,
    .deliver = on_delivery,
    .answered = on_answered,
    .lost = on_lost,
    .is_full = is_full,
};

void agent_gate_open(struct proxy *proxy, int fd, const char *caller, relay_answer_fn answer)
{
    if (!agent_policy_is_set(&proxy->options->requests)) {
        relay_open(proxy, fd, AGENT_SERVICE, caller, answer);
        return;
    }
    struct controls *gates = &proxy->agent.gates;
    struct gate *gate = gates->count < LIMIT_AGENT_CLIENTS ? malloc(sizeof(*gate)) : NULL;
    if (!gate) {
        if (answer)
            answer(fd, OB_REASON_BUSY);
        socket_close(fd);
        return;
    }
    *gate = (struct gate){.proxy = proxy, .fd = fd, .answer = answer};
    qga_line_init(&gate->line, &ops);
    list_init(&gate->link);
    list_append(&gates->list, &gate->link);
    gates->count++;
    int err = qga_line_open(&gate->line, proxy, AGENT_SERVICE, caller);
    if (err < 0) {
        give_answer(gate, reason_of_errno(err));
        destroy(gate, OB_REASON_NONE);
    }
}

void agent_gate_end_all(struct proxy *proxy)
{
    struct list *gates = &proxy->agent.gates.list;
    while (!list_empty(gates))
        destroy(list_entry(gates->next, struct gate, link), OB_REASON_SHUTDOWN);
}
