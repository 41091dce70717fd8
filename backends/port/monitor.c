// SPDX-License-Identifier: BSD-3-Clause
#include "port/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "os/socket.h"
#include "port/end.h"
#include "port/hub_internal.h"
#include "wire/json_out.h"

/* Bytes that wait for one client: the status of LIMIT ports. */
#define OUT_MAX 262144u

struct monitor {
    struct port_hub *hub;
    monitor_fn command;
    void *argument;
    struct list clients;
    unsigned count;
};

struct monitor_client {
    struct list link;
    struct monitor *monitor;
    int fd;
    struct loop_source *source;
    char line[LIMIT_CONTROL_LINE];
    size_t line_len;
    struct json_out out;
    size_t out_at;
    bool ended; /* it has ended its direction */
    bool dead;
};

static void drop(struct monitor_client *client)
{
    loop_remove(client->source);
    socket_close(client->fd);
    json_out_free(&client->out);
    list_remove(&client->link);
    client->monitor->count--;
    free(client);
}

static void flush(struct monitor_client *client)
{
    struct json_out *out = &client->out;
    while (client->out_at < out->len && !client->dead) {
        ssize_t put = send(client->fd, out->bytes + client->out_at, out->len - client->out_at,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0) {
            client->dead |= errno != EAGAIN && errno != EINTR;
            break;
        }
        client->out_at += (size_t)put;
    }
    bool flushed = client->out_at == out->len;
    if (flushed) {
        json_out_free(out);
        client->out_at = 0;
    }
    client->dead |= flushed && client->ended;
    loop_change(client->source, (client->ended ? 0 : EPOLLIN) | (flushed ? 0 : EPOLLOUT));
}

static void put_line(struct monitor_client *client, const struct monitor_field *fields,
                     size_t count)
{
    struct json_out *out = &client->out;
    out->needs_comma = false;
    json_out_begin(out, '{');
    for (size_t i = 0; i < count; i++)
        if (fields[i].text)
            json_out_member_string(out, fields[i].name, fields[i].text);
        else
            json_out_member_uint(out, fields[i].name, fields[i].number);
    json_out_end(out, '}');
    json_out_bytes(out, "\n", 1);
    client->dead |= json_out_done(out) < 0;
}

static void take_line(struct monitor_client *client)
{
    client->line[client->line_len] = '\0';
    client->line_len = 0;
    client->monitor->command(client->monitor->argument, client, client->line);
}

/* A line that is too long is the client's end. */
static void take_input(struct monitor_client *client)
{
    char bytes[LIMIT_CONTROL_LINE];
    ssize_t got = socket_read(client->fd, bytes, sizeof(bytes));
    if (got < 0) {
        client->dead |= errno != EAGAIN && errno != EINTR;
        return;
    }
    client->ended |= got == 0;
    for (ssize_t i = 0; i < got && !client->dead; i++)
        if (bytes[i] == '\n')
            take_line(client);
        else if (client->line_len < sizeof(client->line) - 1)
            client->line[client->line_len++] = bytes[i];
        else
            client->dead = true;
}

static void on_client(void *argument, uint32_t events)
{
    struct monitor_client *client = argument;
    if (events & (EPOLLERR | EPOLLHUP))
        client->dead |= client->ended || (events & EPOLLERR);
    if (!client->dead && (events & (EPOLLIN | EPOLLHUP)) && !client->ended)
        take_input(client);
    if (!client->dead)
        flush(client);
    if (client->dead)
        drop(client);
}

static void on_connection(void *argument, int fd)
{
    struct monitor *monitor = argument;
    struct monitor_client *client =
        monitor->count < LIMIT_CONTROL_CLIENTS ? calloc(1, sizeof(*client)) : NULL;
    if (!client ||
        loop_add(monitor->hub->loop, fd, EPOLLIN, on_client, client, &client->source) < 0) {
        free(client);
        socket_close(fd);
        return;
    }
    client->monitor = monitor;
    client->fd = fd;
    json_out_init(&client->out, OUT_MAX);
    list_init(&client->link);
    list_append(&monitor->clients, &client->link);
    monitor->count++;
}

int monitor_new(struct port_hub *hub, struct port_end *end, monitor_fn command, void *argument,
                struct monitor **ret_monitor)
{
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    if (!monitor)
        return -ENOMEM;
    monitor->hub = hub;
    monitor->command = command;
    monitor->argument = argument;
    list_init(&monitor->clients);
    int err = port_end_share(end, on_connection, monitor);
    if (err < 0)
        monitor_free(monitor);
    else
        *ret_monitor = monitor;
    return err;
}

void monitor_free(struct monitor *monitor)
{
    if (!monitor)
        return;
    while (!list_empty(&monitor->clients))
        drop(list_entry(monitor->clients.next, struct monitor_client, link));
    free(monitor);
}

void monitor_tell(struct monitor *monitor, const struct monitor_field *fields, size_t count)
{
    if (!monitor)
        return;
    for (struct list *link = monitor->clients.next, *next; link != &monitor->clients; link = next) {
        struct monitor_client *client = list_entry(link, struct monitor_client, link);
        next = link->next;
        put_line(client, fields, count);
        if (!client->dead)
            flush(client);
        if (client->dead)
            loop_change(client->source, EPOLLOUT); /* dropped from the loop */
    }
}

void monitor_answer(struct monitor_client *client, const struct monitor_field *fields, size_t count)
{
    put_line(client, fields, count);
}
