// SPDX-License-Identifier: BSD-3-Clause
/* Calls: requests out, answers in, and the end of a remote that does not play along. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"
#include "remote/client.h"

static void tell_state(struct ob_client *client, enum ob_client_state state)
{
    const struct ob_client_options *options = &client->options;
    client->state = state;
    if (options->callbacks.state_changed)
        options->callbacks.state_changed(options->argument, state, &client->fault);
}

void client_lose(struct ob_client *client, int code, const char *reason)
{
    if (client->state == OB_CLIENT_LOST)
        return;
    client->fault = (struct ob_fault){0};
    ob_fault_set(&client->fault, code, "%s", reason);
    loop_remove(client->socket);
    client->socket = NULL;
    socket_close(client->fd); /* so that the remote gives back our memory and descriptors */
    client->fd = -1;
    client_done(&client->engine);
    client->events->lost(client);
    tell_state(client, OB_CLIENT_LOST);
}

static void lose_at_error(struct ob_client *client, int err)
{
    char reason[OB_FAULT_TEXT_LEN];
    if (err == -EPROTO && client->engine.fault.code)
        snprintf(reason, sizeof(reason), "%s", client->engine.fault.text);
    else if (err == -ENOTCONN)
        snprintf(reason, sizeof(reason), "the remote has closed the connection");
    else
        snprintf(reason, sizeof(reason), "the remote's socket failed: %s", strerror(-err));
    client_lose(client, err, reason);
}

static bool has_pending(const struct ob_client *client)
{
    return client->engine.tx_len > 0;
}

/* The events for which the connection has to be looked at, now that nobody waits for an answer. A
 * remote that only answers is looked at while an answer is open: one that a call takes at once
 * would wake the loop for nothing. */
static void watch_socket(struct ob_client *client)
{
    const struct client *engine = &client->engine;
    if (client->state == OB_CLIENT_LOST)
        return;
    bool listens = engine->wire->sends_commands ? !engine->later : client->awaits_answer;
    uint32_t events = EPOLLRDHUP | (listens ? EPOLLIN : 0) | (has_pending(client) ? EPOLLOUT : 0);
    if (events != client->watched)
        loop_change(client->socket, events);
    client->watched = events;
}

/* The remote has not answered; the open call stays in the engine. */
void client_take_for_hung(struct ob_client *client)
{
    const struct ob_client_options *options = &client->options;
    enum ob_client_policy policy = options->policy;
    if (client->state != OB_CLIENT_ALIVE)
        return;
    ob_fault_set(&client->fault, -ETIMEDOUT, "the remote does not answer");
    if (policy == OB_CLIENT_ASK)
        policy = options->callbacks.hung
                     ? options->callbacks.hung(options->argument, &client->fault)
                     : OB_CLIENT_REPORT;
    if (policy == OB_CLIENT_FAIL) {
        client_lose(client, -ETIMEDOUT, "the remote does not answer and was given up");
        return;
    }
    client->awaits_answer = true;
    watch_socket(client);
    tell_state(client, OB_CLIENT_HUNG);
}

/* Receives once. 0, -EAGAIN when nothing was there or nothing can be taken now, -ENOTCONN when the
 * remote is lost (now). */
static int receive(struct ob_client *client)
{
    size_t room;
    uint8_t *to = client_receive_space(&client->engine, &room);
    struct received_fds fds;
    if (room == 0)
        return -EAGAIN;
    ssize_t received = socket_receive(client->fd, to, room, &fds);
    if (received == -EAGAIN)
        return -EAGAIN;
    int err = received < 0 ? (int)received
                           : client_received(&client->engine, (size_t)received, fds.fd, fds.count);
    if (err < 0) {
        lose_at_error(client, err);
        return -ENOTCONN;
    }
    client->moved = true;
    return 0;
}

/* Sends as much of the pending bytes as the kernel takes, but not for ever to a remote that reads as fast
 * as it asks. 0 when that was all, -EAGAIN, or -ENOTCONN. */
static int push(struct ob_client *client)
{
    for (unsigned i = 0; client->state != OB_CLIENT_LOST; i++) {
        size_t len;
        const int *fds;
        unsigned num_fds;
        const uint8_t *bytes = client_pending(&client->engine, &len, &fds, &num_fds);
        if (len == 0 || i == LIMIT_CLIENT_ROUNDS)
            return len == 0 ? 0 : -EAGAIN;
        ssize_t sent = socket_send_fds(client->fd, bytes, len, fds, num_fds);
        if (sent == -EAGAIN)
            return -EAGAIN;
        int err = sent < 0 ? (int)sent : client_sent(&client->engine, (size_t)sent);
        if (err < 0)
            lose_at_error(client, err);
        client->moved = true;
    }
    return -ENOTCONN;
}

/* Takes and sends as much as is possible without waiting, but does not serve a remote that never stops asking
 * for longer than this. */
static void settle(struct ob_client *client)
{
    for (unsigned i = 0; i < LIMIT_CLIENT_ROUNDS && client->state != OB_CLIENT_LOST; i++) {
        int err = receive(client);
        if (client->state == OB_CLIENT_LOST)
            return;
        bool made_room = has_pending(client) && push(client) == 0;
        if (err == -EAGAIN && !made_room)
            return;
    }
}

void client_catch_up(struct ob_client *client)
{
    settle(client);
    if (client->state == OB_CLIENT_LOST)
        return;
    if (client->engine.num_calls == 0 && !has_pending(client)) {
        client->awaits_answer = false;
        if (client->state == OB_CLIENT_HUNG) {
            client->fault = (struct ob_fault){0};
            tell_state(client, OB_CLIENT_ALIVE);
        }
        client->events->settled(client);
    }
    watch_socket(client);
}

/* Waits until there is something to receive or to send, and does that. 0, -ETIMEDOUT, or -ENOTCONN
 * when the remote is lost. */
static int exchange(struct ob_client *client, uint64_t deadline_ns, bool polls)
{
    short events =
        (short)((client->engine.later ? 0 : POLLIN) | (has_pending(client) ? POLLOUT : 0));
    int err = polls ? 0 : socket_wait(client->fd, events, deadline_ns);
    if (!polls && clock_now_ns() >= deadline_ns)
        err = -ETIMEDOUT; /* also when the remote continues to say other things */
    if (err == -ETIMEDOUT)
        return err;
    if (err < 0)
        lose_at_error(client, err);
    else
        receive(client);
    if (client->state != OB_CLIENT_LOST && has_pending(client))
        push(client);
    return client->state == OB_CLIENT_LOST ? -ENOTCONN : 0;
}

/* Sends all that is pending. A remote that sends commands may wait for our answers to them before
 * it reads on. 0, -ETIMEDOUT or -ENOTCONN. */
static int flush(struct ob_client *client, uint64_t deadline_ns)
{
    int err = push(client);
    while (err == -EAGAIN) {
        err = client->engine.wire->sends_commands ? exchange(client, deadline_ns, false)
                                                  : socket_wait(client->fd, POLLOUT, deadline_ns);
        if (err == 0)
            err = push(client);
    }
    if (err == 0 || err == -ETIMEDOUT)
        return err;
    if (err != -ENOTCONN)
        lose_at_error(client, err);
    return -ENOTCONN;
}

/* The remote has not done its part in time: the result of a call then. */
static int give_up(struct ob_client *client)
{
    client_take_for_hung(client);
    return client->state == OB_CLIENT_LOST ? -ENOTCONN : -ETIMEDOUT;
}

/* Waits for an answer: polls first, if that is wished, then blocks. */
static int wait_for_answer(struct ob_client *client, uint64_t serial, uint64_t now_ns,
                           struct client_answer *ret_answer)
{
    uint64_t deadline_ns = now_ns + (uint64_t)client->options.timeout_ms * 1000000;
    uint64_t poll_until_ns = now_ns + (uint64_t)client->options.poll_us * 1000;
    if (poll_until_ns > deadline_ns)
        poll_until_ns = deadline_ns;
    while (!client_answered(&client->engine, serial, ret_answer)) {
        bool polls = client->options.poll_us > 0 && clock_now_ns() < poll_until_ns;
        int err = exchange(client, deadline_ns, polls);
        if (err == -ETIMEDOUT)
            err = give_up(client);
        if (err < 0) {
            client_forget(&client->engine, serial);
            return err;
        }
    }
    return 0;
}

int client_prepare(struct ob_client *client)
{
    client_catch_up(client);
    if (client->state != OB_CLIENT_ALIVE)
        return client->state == OB_CLIENT_LOST ? -ENOTCONN : -ETIMEDOUT;
    if (client->greeted || !client->wire->greet)
        return 0;
    client->greeted = true; /* the greeting is made of calls */
    return client->wire->greet(client);
}

static int take_answer(struct ob_client *client, const struct client_answer *answer,
                       uint64_t *ret_value)
{
    if (answer->error < 0) {
        client->refusal = answer->error;
        return -EREMOTEIO;
    }
    *ret_value = answer->value;
    return 0;
}

/* Sends a request, and before it the rest of earlier ones. A posted one may be left too. Its
 * data may be borrowed, so a request that was begun must go out or end the connection. */
static int send_request(struct ob_client *client, const struct client_request *request,
                        uint64_t deadline_ns, uint64_t *ret_serial)
{
    int err = flush(client, deadline_ns);
    if (err == -ETIMEDOUT && client_is_answered(request))
        return give_up(client);
    if (err == 0)
        err = client_request(&client->engine, request, ret_serial);
    if (err == 0 && request->message && request->message->posted) {
        err = push(client);
        watch_socket(client);
        return err == -EAGAIN ? 0 : err;
    }
    if (err == 0)
        err = flush(client, deadline_ns);
    if (err != -ETIMEDOUT)
        return err;
    client_lose(client, err, "the remote accepts no more messages");
    return -ENOTCONN;
}

int client_call(struct ob_client *client, const struct client_request *request, uint64_t *ret_value)
{
    uint64_t serial;
    struct client_answer answer = {0};
    int err = client_prepare(client);
    bool tells = err == -ETIMEDOUT && !client_is_answered(request);
    if (err < 0 && !tells) /* a hung remote is told all the same */
        return err;
    uint64_t now_ns = clock_now_ns();
    uint64_t patience_ns = tells ? 0 : (uint64_t)client->options.timeout_ms * 1000000;
    err = send_request(client, request, now_ns + patience_ns, &serial);
    if (err == 0 && serial > 0) {
        err = wait_for_answer(client, serial, now_ns, &answer);
        if (err == 0)
            err = take_answer(client, &answer, ret_value);
    }
    return err;
}

int client_send_now(struct ob_client *client, const struct client_request *request)
{
    uint64_t serial = 0;
    assert(request->num_fds == 0);
    if (client->state == OB_CLIENT_LOST)
        return -ENOTCONN;
    if (has_pending(client))
        return -EAGAIN;
    int err = client_request(&client->engine, request, &serial);
    if (err == 0)
        err = push(client);
    if (serial > 0)
        client->awaits_answer = true;
    watch_socket(client);
    return err == -EAGAIN ? 0 : err;
}
