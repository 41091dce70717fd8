// SPDX-License-Identifier: BSD-3-Clause
/* Calls: requests out, answers in, and what becomes of a remote that does not play along. */
#include "vmm/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"

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
    close(client->fd); /* so that the remote gives back what it has of ours */
    client->fd = -1;
    intx_done(client);
    heartbeat_stop(client);
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

/* Lets the loop see what the remote says only while something is open and nobody waits for it: an
 * answer that a call takes at once would wake the loop for nothing. */
static void watch_input(struct ob_client *client, bool watch)
{
    if (client->state == OB_CLIENT_LOST || client->watches_input == watch)
        return;
    loop_change(client->socket, EPOLLRDHUP | (watch ? EPOLLIN : 0));
    client->watches_input = watch;
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
    watch_input(client, true);
    tell_state(client, OB_CLIENT_HUNG);
}

/* Receives once. 0, -EAGAIN when nothing was there, -ENOTCONN when the remote is lost (now). */
static int receive(struct ob_client *client)
{
    size_t room;
    uint8_t *to = client_receive_space(&client->engine, &room);
    struct received_fds fds;
    ssize_t received = socket_receive(client->fd, to, room, &fds);
    if (received == -EAGAIN)
        return -EAGAIN;
    int err = received < 0 ? (int)received
                           : client_received(&client->engine, (size_t)received, fds.count);
    for (unsigned i = 0; received >= 0 && i < fds.count; i++)
        close(fds.fd[i]);
    if (err < 0) {
        lose_at_error(client, err);
        return -ENOTCONN;
    }
    return 0;
}

void client_catch_up(struct ob_client *client)
{
    int err = 0;
    while (client->state != OB_CLIENT_LOST && err == 0)
        err = receive(client);
    if (client->state == OB_CLIENT_LOST || client->engine.num_calls > 0)
        return;
    watch_input(client, false);
    if (client->state == OB_CLIENT_HUNG) {
        client->fault = (struct ob_fault){0};
        tell_state(client, OB_CLIENT_ALIVE);
    }
}

/* Sends all that is pending. 0 or -ENOTCONN. */
static int flush(struct ob_client *client, uint64_t deadline_ns)
{
    for (;;) {
        size_t len;
        const int *fds;
        unsigned num_fds;
        const uint8_t *bytes = client_pending(&client->engine, &len, &fds, &num_fds);
        if (len == 0)
            return 0;
        ssize_t sent = socket_send_fds(client->fd, bytes, len, fds, num_fds);
        if (sent >= 0) {
            client_sent(&client->engine, (size_t)sent);
            continue;
        }
        int err = sent == -EAGAIN ? socket_wait(client->fd, POLLOUT, deadline_ns) : (int)sent;
        if (err == -ETIMEDOUT)
            client_lose(client, err, "the remote takes no more messages");
        else if (err < 0)
            lose_at_error(client, err);
        if (err < 0)
            return -ENOTCONN;
    }
}

/* Waits for an answer: polls first, if that is wished, then blocks. */
static int wait_for_answer(struct ob_client *client, uint64_t serial, uint64_t now_ns,
                           uint64_t *ret_value)
{
    uint64_t deadline_ns = now_ns + (uint64_t)client->options.timeout_ms * 1000000;
    uint64_t poll_until_ns = now_ns + (uint64_t)client->options.poll_us * 1000;
    while (!client_answered(&client->engine, serial, ret_value)) {
        bool polls = client->options.poll_us > 0 && clock_now_ns() < poll_until_ns;
        int err = polls ? 0 : socket_wait(client->fd, POLLIN, deadline_ns);
        if (err == -ETIMEDOUT) {
            client_take_for_hung(client);
            return client->state == OB_CLIENT_LOST ? -ENOTCONN : -ETIMEDOUT;
        }
        if (err < 0)
            lose_at_error(client, err);
        else
            receive(client);
        if (client->state == OB_CLIENT_LOST)
            return -ENOTCONN;
    }
    return 0;
}

int client_call(struct ob_client *client, const struct client_request *request, uint64_t *ret_value)
{
    client_catch_up(client);
    if (client->state == OB_CLIENT_LOST)
        return -ENOTCONN;
    if (client->state == OB_CLIENT_HUNG && client_is_answered(request->operation))
        return -ETIMEDOUT;
    uint64_t serial;
    int err = client_request(&client->engine, request, &serial);
    if (err < 0)
        return err;
    uint64_t now_ns = clock_now_ns();
    bool waits = client->state == OB_CLIENT_ALIVE && request->operation != CLIENT_PING;
    err = flush(client, waits ? now_ns + (uint64_t)client->options.timeout_ms * 1000000 : now_ns);
    if (err == 0 && serial > 0 && waits)
        err = wait_for_answer(client, serial, now_ns, ret_value);
    else if (err == 0 && serial > 0)
        watch_input(client, true);
    return err;
}
