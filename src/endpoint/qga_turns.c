// SPDX-License-Identifier: BSD-3-Clause
/* The clients take turns by requests: one that has been answered goes to the end of the list. */
#include "endpoint/qga_turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"

static void next_turn(struct qga_turns *turns);

static void drop_client(struct qga_turns *turns, struct qga_client *client)
{
    if (turns->asker == client)
        turns->asker = NULL;
    turns->count--;
    qga_client_free(client);
}

static void on_client(void *argument, struct qga_client *client, bool gone)
{
    struct qga_turns *turns = argument;
    if (gone)
        drop_client(turns, client);
    else if (!turns->busy)
        next_turn(turns);
}

/* The first client with a request that waits, or NULL. */
static struct qga_client *find_waiting(const struct qga_turns *turns)
{
    for (struct list *link = turns->clients.next; link != &turns->clients; link = link->next) {
        struct qga_client *client = list_entry(link, struct qga_client, link);
        if (client->has_request)
            return client;
    }
    return NULL;
}

/* Writes a request, or nothing, and a sync behind it. */
static int ask(struct qga_turns *turns, const char *request, size_t len)
{
    free(take_ptr(&turns->out));
    int err = qga_mark_compose(&turns->mark, request, len, &turns->out, &len);
    if (err < 0)
        return err;
    turns->busy = true;
    return turns->ops->send(turns, turns->out, len);
}

/* Answers each request that waits with an error. A client may have a further one at once; that has to
 * wait for the next round of the loop. */
static void refuse_all(struct qga_turns *turns, const char *why)
{
    char text[200];
    struct qga_client *client;
    snprintf(text, sizeof(text), "the guest's agent can't be reached: %.150s", why);
    turns->busy = true;
    for (unsigned i = turns->count; i > 0 && (client = find_waiting(turns)); i--) {
        list_remove(&client->link);
        list_append(&turns->clients, &client->link);
        qga_client_put_error(client, text);
        qga_client_answered(client);
    }
    turns->busy = false;
    if (find_waiting(turns))
        turns->ops->set_timer(turns, &turns->again, clock_now_ns());
}

static void disconnect(struct qga_turns *turns)
{
    if (turns->connected)
        turns->ops->disconnect(turns);
    turns->connected = false;
    free(take_ptr(&turns->out));
    turns->busy = false;
}

void qga_turns_lost(struct qga_turns *turns, const char *why)
{
    disconnect(turns);
    if (turns->asker)
        drop_client(turns, turns->asker);
    refuse_all(turns, why);
}

void qga_turns_paused(struct qga_turns *turns)
{
    disconnect(turns);
    turns->asker = NULL;
    for (struct list *link = turns->clients.next, *next; link != &turns->clients; link = next) {
        struct qga_client *client = list_entry(link, struct qga_client, link);
        next = link->next;
        if (client->asked)
            drop_client(turns, client);
    }
}

void qga_turns_answered(struct qga_turns *turns)
{
    struct qga_client *client = turns->asker;
    turns->asker = NULL;
    turns->busy = false;
    if (client) {
        list_remove(&client->link);
        list_append(&turns->clients, &client->link);
        qga_client_answered(client);
    }
    if (!turns->busy)
        next_turn(turns);
}

static void deliver(void *argument, const char *bytes, size_t len)
{
    const struct qga_turns *turns = argument;
    if (turns->asker)
        qga_client_put(turns->asker, bytes, len);
}

size_t qga_turns_take(struct qga_turns *turns, const char *bytes, size_t len, bool *ret_ended)
{
    return qga_mark_take(&turns->mark, bytes, len, deliver, turns, ret_ended);
}

void qga_turns_sent(struct qga_turns *turns)
{
    free(take_ptr(&turns->out));
}

/* Its answers to earlier clients are dropped. */
static int begin(struct qga_turns *turns)
{
    static const char reset[] = {QGA_MARK_BYTE};
    turns->connected = true;
    return ask(turns, reset, sizeof(reset));
}

void qga_turns_connected(struct qga_turns *turns)
{
    int err = turns->connected ? 0 : begin(turns);
    if (err < 0)
        qga_turns_lost(turns, strerror(-err));
}

/* Lets the next client ask. */
static void next_turn(struct qga_turns *turns)
{
    struct qga_client *client = find_waiting(turns);
    int err = 0;
    if (!client)
        return;
    if (!turns->connected) {
        err = turns->ops->connect(turns);
        if (err == 0)
            err = begin(turns);
    } else {
        turns->asker = client;
        client->asked = true;
        err = ask(turns, client->frame.bytes, client->frame.len);
    }
    if (err < 0 && err != -EINPROGRESS)
        qga_turns_lost(turns, err == -ENOTCONN ? "no session" : strerror(-err));
}

static void on_again(void *argument)
{
    struct qga_turns *turns = argument;
    if (!turns->busy)
        next_turn(turns);
}

void qga_turns_add(struct qga_turns *turns, int fd)
{
    struct qga_client *client;
    if (turns->count >= LIMIT_AGENT_CLIENTS) {
        socket_close(fd);
        return;
    }
    if (qga_client_new(turns->loop, fd, on_client, turns, &client) < 0)
        return;
    client->policy = turns->policy;
    turns->count++;
    list_append(&turns->clients, &client->link);
}

void qga_turns_init(struct qga_turns *turns, struct loop *loop, const struct qga_turns_ops *ops)
{
    *turns = (struct qga_turns){.ops = ops, .loop = loop};
    list_init(&turns->clients);
    timer_init(&turns->again, on_again, turns);
}

void qga_turns_done(struct qga_turns *turns)
{
    timer_cancel(&turns->again);
    disconnect(turns);
    while (!list_empty(&turns->clients))
        drop_client(turns, list_entry(turns->clients.next, struct qga_client, link));
}
