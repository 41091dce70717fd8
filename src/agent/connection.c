// SPDX-License-Identifier: BSD-3-Clause
/*
 * One request after the other: while one is carried out, or its answer has not been taken, nothing
 * more is read, so that a client has one request and one answer in memory at most.
 *
 * Requests without a break hold up no other client: after the bytes of one read(2), the loop has its
 * turn.
 *
 * A client that has ended its own direction still gets its answers (`echo ... | socat`). One that
 * has closed is noticed at once (EPOLLHUP), and its call's answer is dropped.
 */
#include "agent/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/dispatch.h"
#include "agent/internal.h"
#include "base/auto.h"
#include "base/limits.h"
#include "os/input.h"
#include "os/socket.h"
#include "wire/json_frame.h"
#include "wire/json_out.h"
#include "wire/qmp.h"

struct connection {
    struct agent *agent;
    struct list link; /* agent.clients */
    struct loop_source *source;
    int fd;
    char caller[CALL_CALLER_MAX];
    struct json_frame frame;
    struct input in;
    struct call *call; /* NULL: none is carried out */
    struct json_out out;
    size_t out_at;
    bool busy; /* in advance() */
    bool dead;
};

static void destroy(struct connection *connection)
{
    if (connection->call)
        connection->call->answered = NULL;
    connection->agent->client_count--;
    list_remove(&connection->link);
    loop_remove(connection->source);
    socket_close(connection->fd);
    json_frame_done(&connection->frame);
    json_out_free(&connection->out);
    free(connection);
}

/* Writes an answer with FF in front, if it has to be there. */
static void put_answer(struct connection *connection, const struct call *call, const char *class,
                       const char *text, size_t len)
{
    struct json_out *out = &connection->out;
    const struct json *id = call ? json_member(json_root(call->request), "id") : NULL;
    unsigned flags = call && !class ? call->command->flags : 0;
    if (flags & COMMAND_SILENT)
        return;
    if (flags & COMMAND_DELIMITED)
        json_out_bytes(out, "\xff", 1);
    if (class)
        qmp_put_error(out, class, text, len, id);
    else
        qmp_put_return(out, text, len, id);
    connection->dead |= json_out_done(out) < 0;
}

static void advance(struct connection *connection);

static void on_answer(void *argument, struct call *call, const char *class, const char *text,
                      size_t len)
{
    struct connection *connection = argument;
    connection->call = NULL;
    put_answer(connection, call, class, text, len);
    advance(connection);
}

static void put_fault(struct connection *connection, uint64_t offset, const char *fault)
{
    qmp_put_fault(&connection->out, offset, fault);
    connection->dead |= json_out_done(&connection->out) < 0;
}

static void take_request(struct connection *connection)
{
    const struct json_frame *frame = &connection->frame;
    struct json_document *request;
    struct json_fault fault;
    if (json_parse(frame->bytes, frame->len, &request, &fault) < 0) {
        put_fault(connection, frame->offset - frame->len + fault.offset, fault.text);
        return;
    }
    connection->call = call_new(request, connection->caller, on_answer, connection);
    if (!connection->call) {
        json_free(request);
        connection->dead = true;
        return;
    }
    dispatch(connection->agent, connection->call);
}

/* Takes the bytes in `in`, up to a request or a fault. */
static void take_input(struct connection *connection)
{
    enum json_frame_event event;
    connection->in.at += json_frame_take(&connection->frame, input_bytes(&connection->in),
                                         input_left(&connection->in), &event);
    if (event == JSON_FRAME_VALUE)
        take_request(connection);
    else if (event == JSON_FRAME_FAULT)
        put_fault(connection, connection->frame.fault_at, connection->frame.fault);
}

/* Whether there is something to look at. Reads once in a turn. */
static bool has_input(struct connection *connection, bool *has_read)
{
    bool there = input_left(&connection->in) > 0;
    if (!there && !*has_read) {
        *has_read = true;
        there = input_fill(&connection->in, connection->fd);
        connection->dead |= connection->in.failed;
    }
    return there;
}

/* Whether all was taken. */
static bool flush(struct connection *connection)
{
    struct json_out *out = &connection->out;
    while (connection->out_at < out->len) {
        ssize_t put = send(connection->fd, out->bytes + connection->out_at,
                           out->len - connection->out_at, MSG_NOSIGNAL);
        if (put < 0) {
            connection->dead |= errno != EAGAIN;
            return false;
        }
        connection->out_at += (size_t)put;
    }
    json_out_free(out);
    connection->out_at = 0;
    return true;
}

/* Writes, reads and takes requests until one of them has to wait. The connection may be freed. */
static void advance(struct connection *connection)
{
    if (connection->busy)
        return;
    bool has_read = false;
    connection->busy = true;
    bool flushed = flush(connection);
    while (!connection->dead && flushed && !connection->call && has_input(connection, &has_read)) {
        take_input(connection);
        flushed = flush(connection);
    }
    connection->busy = false;
    if (connection->dead || (connection->in.ended && flushed && !connection->call))
        destroy(connection);
    else
        loop_change(connection->source, flushed && !connection->call ? EPOLLIN
                                        : flushed                    ? 0
                                                                     : EPOLLOUT);
}

static void on_event(void *argument, uint32_t events)
{
    struct connection *connection = argument;
    connection->dead |= (events & EPOLLERR) != 0 || ((events & EPOLLHUP) && connection->call);
    advance(connection);
}

int connection_new(struct agent *agent, int fd, const char *caller)
{
    struct connection *connection =
        agent->client_count < LIMIT_AGENT_CLIENTS ? calloc(1, sizeof(*connection)) : NULL;
    int err = connection ? loop_add(agent->config.loop, fd, EPOLLIN, on_event, connection,
                                    &connection->source)
                         : -EAGAIN;
    if (err < 0) {
        free(connection);
        socket_close(fd);
        return err;
    }
    connection->agent = agent;
    connection->fd = fd;
    snprintf(connection->caller, sizeof(connection->caller), "%s", caller);
    json_frame_init(&connection->frame);
    json_out_init(&connection->out, LIMIT_AGENT_ANSWER + INPUT_LEN);
    list_init(&connection->link);
    list_append(&agent->clients, &connection->link);
    agent->client_count++;
    return 0;
}

void connection_free_all(struct agent *agent)
{
    while (!list_empty(&agent->clients))
        destroy(list_entry(agent->clients.next, struct connection, link));
}
