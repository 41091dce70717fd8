// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/qga_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "os/socket.h"
#include "wire/json.h"
#include "wire/qmp.h"

#define CHECK_LEN 400

static void advance(struct qga_client *client);

void qga_client_free(struct qga_client *client)
{
    loop_remove(client->source);
    socket_close(client->fd);
    json_frame_done(&client->frame);
    json_out_free(&client->out);
    list_remove(&client->link);
    free(client);
}

/* Whether all was taken. */
static bool flush(struct qga_client *client)
{
    struct json_out *out = &client->out;
    while (client->out_at < out->len) {
        ssize_t put =
            send(client->fd, out->bytes + client->out_at, out->len - client->out_at, MSG_NOSIGNAL);
        if (put < 0) {
            client->dead |= errno != EAGAIN;
            return false;
        }
        client->out_at += (size_t)put;
    }
    json_out_free(out);
    client->out_at = 0;
    return true;
}

void qga_client_put(struct qga_client *client, const char *bytes, size_t len)
{
    json_out_bytes(&client->out, bytes, len);
    client->dead |= json_out_done(&client->out) < 0;
    if (client->dead || !flush(client))
        loop_change(client->source, EPOLLOUT); /* its event ends a client that is dead */
}

bool qga_client_is_full(const struct qga_client *client)
{
    return client->out.len - client->out_at > QGA_UNREAD;
}

void qga_client_put_error(struct qga_client *client, const char *text)
{
    qmp_put_error(&client->out, QMP_GENERIC, text, strlen(text), NULL);
    client->dead |= json_out_done(&client->out) < 0;
}

void qga_client_answered(struct qga_client *client)
{
    client->has_request = false;
    advance(client);
}

static void put_fault(struct qga_client *client, uint64_t offset, const char *fault)
{
    qmp_put_fault(&client->out, offset, fault);
    client->dead |= json_out_done(&client->out) < 0;
}

/* Answers a request that the policy forbids. Whether it did. */
static bool refuse(struct qga_client *client, const struct json *request)
{
    char text[CHECK_LEN];
    const char *why = NULL, *class = QMP_GENERIC;
    if (!client->policy || !agent_policy_is_set(client->policy))
        return false;
    const char *wrong = qmp_check_request(request, text, sizeof(text));
    if (!wrong)
        why = agent_policy_refusal(client->policy, json_member(request, "execute")->text.bytes);
    if (why) {
        snprintf(text, sizeof(text), "Command %.200s has been disabled at the host: %s",
                 json_member(request, "execute")->text.bytes, why);
        class = QMP_NOT_FOUND;
        wrong = text;
    }
    if (wrong)
        qmp_put_error(&client->out, class, wrong, strlen(wrong),
                      request->type == JSON_OBJECT ? json_member(request, "id") : NULL);
    return wrong;
}

/* The agent sees valid JSON only, so that nobody can put its parser out of step. */
static void take_value(struct qga_client *client)
{
    const struct json_frame *frame = &client->frame;
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(frame->bytes, frame->len, &document, &fault) < 0) {
        put_fault(client, frame->offset - frame->len + fault.offset, fault.text);
        return;
    }
    client->has_request = !refuse(client, json_root(document));
    client->dead |= json_out_done(&client->out) < 0;
    json_free(document);
}

static void take_input(struct qga_client *client)
{
    enum json_frame_event event;
    client->in.at +=
        json_frame_take(&client->frame, input_bytes(&client->in), input_left(&client->in), &event);
    if (event == JSON_FRAME_VALUE)
        take_value(client);
    else if (event == JSON_FRAME_FAULT)
        put_fault(client, client->frame.fault_at, client->frame.fault);
}

/* Reads once in a turn: requests that are refused without a break must hold up nobody else. */
static bool has_input(struct qga_client *client, bool *has_read)
{
    bool there = input_left(&client->in) > 0;
    if (!there && !*has_read) {
        *has_read = true;
        there = input_fill(&client->in, client->fd);
        client->dead |= client->in.failed;
    }
    return there;
}

/* Writes, reads and takes requests until one has to wait. The client may be freed by its owner. */
static void advance(struct qga_client *client)
{
    bool has_read = false;
    bool flushed = flush(client);
    while (!client->dead && flushed && !client->has_request && has_input(client, &has_read)) {
        take_input(client);
        flushed = flush(client);
    }
    bool gone = client->dead || (client->in.ended && flushed && !client->has_request);
    if (!gone)
        loop_change(client->source, !flushed ? EPOLLOUT : client->has_request ? 0 : EPOLLIN);
    if (gone || client->has_request)
        client->tells(client->argument, client, gone);
}

static void on_event(void *argument, uint32_t events)
{
    struct qga_client *client = argument;
    client->dead |= (events & EPOLLERR) != 0 || ((events & EPOLLHUP) && client->has_request);
    advance(client);
}

int qga_client_new(struct loop *loop, int fd, qga_client_fn tells, void *argument,
                   struct qga_client **ret_client)
{
    struct qga_client *client = calloc(1, sizeof(*client));
    int err = client ? loop_add(loop, fd, EPOLLIN, on_event, client, &client->source) : -ENOMEM;
    if (err < 0) {
        free(client);
        socket_close(fd);
        return err;
    }
    client->fd = fd;
    client->tells = tells;
    client->argument = argument;
    list_init(&client->link);
    json_frame_init(&client->frame);
    json_out_init(&client->out, LIMIT_AGENT_ANSWER);
    *ret_client = client;
    return 0;
}
