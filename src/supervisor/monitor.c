// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/monitor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/list.h"
#include "endpoint/acceptor.h"
#include "os/input.h"
#include "os/socket.h"
#include "wire/json_frame.h"

struct monitor {
    struct monitor_config config;
    struct acceptor *acceptor;
    struct list clients;
    unsigned client_count;
    bool freed; /* goes with its last client */
};

struct client {
    struct monitor *monitor;
    struct list link;
    struct loop_source *source;
    int fd;
    struct json_frame frame;
    struct input in;
    struct monitor_call *call; /* NULL: none is carried out */
    struct json_out out;
    size_t out_at;
    uint64_t lost; /* events that there was no room for */
    bool events;
    bool busy; /* in advance() */
    bool dead;
};

struct monitor_call {
    struct client *client; /* NULL: has gone */
    struct json_document *document;
    const char *command;
    const char *device; /* as monitor_device() */
    struct json_out out;
};

static void destroy(struct client *client)
{
    struct monitor *monitor = client->monitor;
    if (client->call)
        client->call->client = NULL;
    monitor->client_count--;
    list_remove(&client->link);
    loop_remove(client->source);
    socket_close(client->fd);
    json_frame_done(&client->frame);
    json_out_free(&client->out);
    free(client);
    if (monitor->freed && monitor->client_count == 0)
        free(monitor);
}

/* Begins a message, which end_message() ends. */
static struct json_out *begin_message(struct client *client)
{
    client->out.needs_comma = false;
    json_out_begin(&client->out, '{');
    return &client->out;
}

static void end_message(struct client *client)
{
    json_out_end(&client->out, '}');
    json_out_bytes(&client->out, "\n", 1);
    client->dead |= json_out_done(&client->out) < 0;
}

static void put_id(struct json_out *out, const struct json *request)
{
    const struct json *id =
        request && request->type == JSON_OBJECT ? json_member(request, "id") : NULL;
    if (!id)
        return;
    json_out_name(out, "id");
    json_out_value(out, id);
}

static void put_error(struct client *client, const struct json *request, const char *class,
                      const char *text)
{
    struct json_out *out = begin_message(client);
    json_out_name(out, "error");
    json_out_begin(out, '{');
    json_out_member_string(out, "class", class);
    json_out_member_string(out, "desc", text);
    json_out_end(out, '}');
    put_id(out, request);
    end_message(client);
}

static void put_greeting(struct client *client)
{
    struct json_out *out = begin_message(client);
    json_out_name(out, "outboard");
    json_out_begin(out, '{');
    json_out_member_string(out, "version", OUTBOARD_VERSION);
    json_out_member_string(out, "machine", client->monitor->config.machine);
    if (client->monitor->config.device)
        json_out_member_string(out, "device", client->monitor->config.device);
    json_out_member_int(out, "pid", getpid());
    json_out_name(out, "capabilities");
    json_out_begin(out, '[');
    json_out_string(out, "events");
    json_out_end(out, ']');
    json_out_end(out, '}');
    end_message(client);
}

static void put_timestamp(struct json_out *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_out_name(out, "timestamp");
    json_out_begin(out, '{');
    json_out_member_int(out, "seconds", now.tv_sec);
    json_out_member_int(out, "microseconds", now.tv_nsec / 1000);
    json_out_end(out, '}');
}

static void put_event(struct client *client, const char *name, const char *data)
{
    struct json_out *out = begin_message(client);
    json_out_member_string(out, "event", name);
    json_out_name(out, "data");
    json_out_raw(out, data, strlen(data));
    put_timestamp(out);
    end_message(client);
}

/* Whether all was taken. */
static bool flush(struct client *client)
{
    struct json_out *out = &client->out;
    while (client->out_at < out->len) {
        ssize_t put = send(client->fd, out->bytes + client->out_at, out->len - client->out_at,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
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

static const char *check_request(const struct json *request)
{
    const struct json *command =
        request->type == JSON_OBJECT ? json_member(request, "execute") : NULL;
    const struct json *arguments = command ? json_member(request, "arguments") : NULL;
    if (!command || command->type != JSON_STRING)
        return "got no command, expected an object with a string \"execute\"";
    if (arguments && arguments->type != JSON_OBJECT)
        return "got \"arguments\" of another type, expected an object";
    return NULL;
}

static void take_request(struct client *client)
{
    struct monitor *monitor = client->monitor;
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(client->frame.bytes, client->frame.len, &document, &fault) < 0) {
        put_error(client, NULL, MONITOR_GENERIC, fault.text);
        return;
    }
    const char *wrong = check_request(json_root(document));
    struct monitor_call *call = wrong ? NULL : calloc(1, sizeof(*call));
    if (!call) {
        put_error(client, json_root(document), MONITOR_GENERIC, wrong ? wrong : "no memory");
        json_free(document);
        return;
    }
    json_out_init(&call->out, LIMIT_MONITOR_ANSWER);
    call->client = client;
    call->document = document;
    call->device = monitor->config.device;
    call->command = json_member(json_root(document), "execute")->text.bytes;
    client->call = call;
    monitor->config.called(monitor->config.argument, call);
}

/* Takes the bytes in `in`, up to a request or a fault. */
static void take_input(struct client *client)
{
    enum json_frame_event event;
    client->in.at +=
        json_frame_take(&client->frame, input_bytes(&client->in), input_left(&client->in), &event);
    if (event == JSON_FRAME_VALUE)
        take_request(client);
    else if (event == JSON_FRAME_FAULT)
        put_error(client, NULL, MONITOR_GENERIC, client->frame.fault);
    if (client->frame.len > LIMIT_MONITOR_REQUEST) {
        put_error(client, NULL, MONITOR_GENERIC,
                  "got a request of more than 65536 bytes; connect again");
        client->in.ended = true;
        client->in.at = client->in.len;
    }
}

/* Whether there is something to look at. */
static bool has_input(struct client *client)
{
    bool there = input_fill(&client->in, client->fd);
    client->dead |= client->in.failed;
    return there;
}

static void tell_lost(struct client *client)
{
    char data[48];
    if (client->lost == 0 || client->out.len > 0)
        return;
    snprintf(data, sizeof(data), "{\"count\": %llu}", (unsigned long long)client->lost);
    client->lost = 0;
    put_event(client, "EVENTS_LOST", data);
}

/* The events to wait for. Input that is read already, and was left for the next turn, has to be looked at
 * when the socket takes bytes, which is at once. */
static uint32_t choose_events(const struct client *client, bool flushed)
{
    bool reads = flushed && !client->call;
    bool again = reads && input_left(&client->in) > 0;
    return (reads ? EPOLLIN : 0u) | (!flushed || again ? EPOLLOUT : 0u);
}

/* Writes, reads and takes requests until one of them has to wait, or the turn is over. The client
 * may be freed. */
static void advance(struct client *client)
{
    if (client->busy)
        return;
    client->busy = true;
    bool flushed = flush(client);
    for (unsigned i = 0; i < LIMIT_CONTROL_BURST; i++) {
        if (client->dead || !flushed || client->call || !has_input(client))
            break;
        take_input(client);
        flushed = flush(client);
    }
    tell_lost(client);
    flushed = flush(client);
    client->busy = false;
    bool over = client->in.ended && flushed && !client->call && input_left(&client->in) == 0;
    if (client->dead || over)
        destroy(client);
    else
        loop_change(client->source, choose_events(client, flushed));
}

static void on_event(void *argument, uint32_t events)
{
    struct client *client = argument;
    client->dead |= (events & EPOLLERR) != 0 || ((events & EPOLLHUP) && client->call);
    advance(client);
}

static void on_accepted(void *argument, int fd)
{
    static const char full[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"there are as "
                               "many clients as this socket takes; end one of them\"}}\n";
    struct monitor *monitor = argument;
    bool has_room = monitor->client_count <
                    (monitor->config.device ? LIMIT_VIEW_CLIENTS : LIMIT_CONTROL_CLIENTS);
    struct client *client = has_room ? calloc(1, sizeof(*client)) : NULL;
    if (!has_room)
        (void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!client ||
        loop_add(monitor->config.loop, fd, EPOLLIN, on_event, client, &client->source) < 0) {
        free(client);
        socket_close(fd);
        return;
    }
    client->monitor = monitor;
    client->fd = fd;
    json_frame_init(&client->frame);
    json_out_init(&client->out, LIMIT_MONITOR_ANSWER + LIMIT_MONITOR_EVENTS);
    list_init(&client->link);
    list_append(&monitor->clients, &client->link);
    monitor->client_count++;
    put_greeting(client);
    advance(client);
}

int monitor_new(const struct monitor_config *config, struct monitor **ret_monitor,
                struct ob_fault *fault)
{
    struct address address;
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    if (!monitor)
        return ob_fault_set(fault, -ENOMEM, "no memory for the control socket");
    monitor->config = *config;
    list_init(&monitor->clients);
    const struct acceptor_config acceptor = {.loop = config->loop,
                                             .timers = config->timers,
                                             .mode = 0600,
                                             .title = config->device ? "a monitor socket"
                                                                     : "the control socket",
                                             .accepted = on_accepted,
                                             .argument = monitor};
    int err = address_parse_path(config->path, &address, fault);
    if (err == 0) {
        err = acceptor_new(&address, &acceptor, &monitor->acceptor);
        if (err < 0)
            ob_fault_set(fault, err, "%s socket: can't listen at %.100s: %s",
                         config->device ? "monitor" : "control", config->path, strerror(-err));
    }
    if (err == 0 && config->access) {
        err = socket_access_give(config->access, config->path);
        if (err < 0)
            ob_fault_set(fault, err, "%s socket: can't change owner or mode of %.100s: %s",
                         config->device ? "monitor" : "control", config->path, strerror(-err));
    }
    if (err < 0)
        monitor_free(monitor);
    else
        *ret_monitor = monitor;
    return err;
}

int monitor_new_view(const struct monitor *machine, const char *path,
                     const struct socket_access *access, const char *device,
                     struct monitor **ret_monitor, struct ob_fault *fault)
{
    struct monitor_config config = machine->config;
    config.path = path;
    config.access = access;
    config.device = device;
    return monitor_new(&config, ret_monitor, fault);
}

void monitor_free(struct monitor *monitor)
{
    if (!monitor)
        return;
    acceptor_free(monitor->acceptor);
    for (struct list *link = monitor->clients.next, *next; link != &monitor->clients; link = next) {
        struct client *client = list_entry(link, struct client, link);
        next = link->next;
        client->dead = true;
        if (!client->busy) /* its turn, which this call is part of, frees it */
            destroy(client);
    }
    monitor->freed = true;
    if (monitor->client_count == 0)
        free(monitor);
}

const char *monitor_command(const struct monitor_call *call)
{
    return call->command;
}

const struct json *monitor_arguments(const struct monitor_call *call)
{
    return json_member(json_root(call->document), "arguments");
}

const char *monitor_text(const struct monitor_call *call, const char *name)
{
    const struct json *arguments = monitor_arguments(call);
    if (call->device && strcmp(name, "device") == 0)
        return call->device;
    const struct json *value = arguments ? json_member(arguments, name) : NULL;
    return value && value->type == JSON_STRING ? value->text.bytes : NULL;
}

const char *monitor_device(const struct monitor_call *call)
{
    return call->device;
}

struct json_out *monitor_out(struct monitor_call *call)
{
    return &call->out;
}

static void free_call(struct monitor_call *call)
{
    json_free(call->document);
    json_out_free(&call->out);
    free(call);
}

void monitor_refuse(struct monitor_call *call, const char *class, const char *format, ...)
{
    struct client *client = call->client;
    char text[OB_FAULT_TEXT_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (client) {
        client->call = NULL;
        put_error(client, json_root(call->document), class, text);
    }
    free_call(call);
    if (client)
        advance(client);
}

void monitor_answer(struct monitor_call *call)
{
    struct client *client = call->client;
    if (json_out_done(&call->out) < 0) {
        monitor_refuse(call, MONITOR_GENERIC, "no memory for the answer");
        return;
    }
    if (client) {
        struct json_out *out = begin_message(client);
        client->call = NULL;
        json_out_name(out, "return");
        json_out_raw(out, call->out.len ? call->out.bytes : "{}",
                     call->out.len ? call->out.len : 2);
        put_id(out, json_root(call->document));
        end_message(client);
    }
    free_call(call);
    if (client)
        advance(client);
}

void monitor_want_events(struct monitor_call *call, bool want)
{
    if (call->client)
        call->client->events = want;
}

/* Sends as much as the socket takes now. The rest, and the end of a client, come in its own turn,
 * since another client's turn may be under way. */
static void send_soon(struct client *client)
{
    bool flushed = !client->busy && flush(client) && !client->dead;
    if (!client->busy)
        loop_change(client->source, choose_events(client, flushed));
}

void monitor_event(struct monitor *monitor, const char *name, const char *data)
{
    if (!monitor)
        return;
    for (struct list *link = monitor->clients.next; link != &monitor->clients; link = link->next) {
        struct client *client = list_entry(link, struct client, link);
        if (!client->events)
            continue;
        if (client->out.len - client->out_at > LIMIT_MONITOR_EVENTS) {
            client->lost++;
            continue;
        }
        put_event(client, name, data ? data : "{}");
        send_soon(client);
    }
}
