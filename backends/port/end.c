// SPDX-License-Identifier: BSD-3-Clause
/*
 * An end is in one of these conditions:
 *
 *   idle      a listener waits, a terminal is looked at, the connector was asked, or a rest before that
 *   served    there is a peer, whose bytes the owner reads and writes
 *
 * Nothing is opened by a path once port_end_open() has returned: later connections and
 * commands come from the connector.
 */
#include "port/end.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/program.h>

#include "base/auto.h"
#include "endpoint/pump.h"
#include "os/clock.h"
#include "os/socket.h"
#include "port/end_internal.h"
#include "port/end_open.h"

#define REDIAL_NS   UINT64_C(1000000000) /* between two tries to connect */
#define LOOK_NS     UINT64_C(200000000)  /* between two looks at a terminal that nobody has open */
#define REST_NS     UINT64_C(100000000)  /* of a listener that can't accept */
#define ACCEPTS_MAX 16                   /* connections that are taken in one round */

struct port_end {
    struct list link;
    struct port_hub *hub;
    uint32_t key;
    struct end_source source;
    struct loop_source *listening;
    port_end_fn changed;
    port_accept_fn accepted; /* of a shared end */
    void *argument;
    bool refuses_others;
    bool peer;
    bool begun;                 /* the command of this session was asked for */
    struct pump reader, writer; /* a socket and a terminal have the first alone */
    struct timer again;
    uint32_t asked; /* id of the call that waits; 0: none */
    uint32_t calls;
};

static struct pump *writer_of(struct port_end *end)
{
    return end->source.kind == END_PIPE ? &end->writer : &end->reader;
}

static void on_pump(void *argument, uint32_t events)
{
    struct port_end *end = argument;
    end->changed(end->argument);
}

static void report(struct port_end *end)
{
    if (end->changed)
        end->changed(end->argument);
}

static bool owns_fd(const struct port_end *end)
{
    switch (end->source.kind) {
    case END_LISTEN:
    case END_CONNECT:
    case END_COMMAND:
        return true;
    default:
        return false; /* the source's, for the whole life */
    }
}

static int watch(struct port_end *end, struct pump *pump, int fd, unsigned uses)
{
    pump_init(pump, fd);
    pump->is_socket = descriptor_is_socket(fd);
    pump->drains = pump->is_socket || end->source.kind == END_PIPE;
    if (end->source.kind == END_FILE) { /* epoll knows no files */
        pump->writable = true;
        return 0;
    }
    return pump_watch(pump, end->hub->loop, uses, on_pump, end);
}

/* A peer is there. fd: the callee's if the end owns its descriptors. */
static void attach(struct port_end *end, int fd)
{
    unsigned uses = end->source.kind == END_PIPE ? PUMP_READS : PUMP_READS | PUMP_WRITES;
    int err = watch(end, &end->reader, fd, uses);
    if (err == 0 && end->source.kind == END_PIPE)
        err = watch(end, &end->writer, end->source.out_fd, PUMP_WRITES);
    if (err < 0) {
        ob_log("%s: can't wait for the peer: %s", end->source.description, strerror(-err));
        end->peer = true;
        port_end_next(end);
        return;
    }
    end->peer = true;
    report(end);
}

/* Asks the connector. */
static void ask(struct port_end *end)
{
    uint32_t id = (end->key << 16) | (++end->calls & 0xffff);
    int err = connector_ask(end->hub->connector, id, end->key);
    if (err == 0)
        end->asked = id;
    else if (err == -EAGAIN)
        port_hub_set_timer(end->hub, &end->again, clock_now_ns() + REDIAL_NS);
}

static void take_connections(struct port_end *end)
{
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        int fd = socket_accept(end->source.fd);
        if (fd == -EAGAIN)
            return;
        if (fd < 0) {
            loop_change(end->listening, 0);
            port_hub_set_timer(end->hub, &end->again, clock_now_ns() + REST_NS);
            return;
        }
        if (end->accepted) {
            end->accepted(end->argument, fd);
        } else if (end->peer) {
            socket_close(fd);
        } else {
            loop_change(end->listening, end->refuses_others ? EPOLLIN : 0);
            attach(end, fd);
            if (!end->refuses_others)
                return;
        }
    }
}

static void on_connection(void *argument, uint32_t events)
{
    take_connections(argument);
}

/* Whether somebody has the terminal open: a read says EIO while nobody has. */
static void look_at_terminal(struct port_end *end)
{
    struct pollfd look = {.fd = end->source.fd, .events = POLLIN};
    if (poll(&look, 1, 0) >= 0 && !(look.revents & POLLHUP))
        attach(end, end->source.fd);
    else
        port_hub_set_timer(end->hub, &end->again, clock_now_ns() + LOOK_NS);
}

/* Looks for the next peer. */
static void seek(struct port_end *end)
{
    switch (end->source.kind) {
    case END_LISTEN:
        loop_change(end->listening, EPOLLIN);
        break;
    case END_CONNECT:
        ask(end);
        break;
    case END_TERMINAL:
        look_at_terminal(end);
        break;
    case END_COMMAND:
        end->begun = false;
        end->peer = true;
        report(end);
        break;
    case END_FILE:
    case END_PIPE:
    case END_DESCRIPTOR:
        if (end->source.fd >= 0)
            attach(end, end->source.fd);
        break;
    }
}

static void on_again(void *argument)
{
    struct port_end *end = argument;
    if (!end->peer || end->source.kind == END_LISTEN)
        seek(end);
}

bool port_end_is_description(const char *text)
{
    return end_source_kind(text) >= 0;
}

int port_end_open(struct port_hub *hub, const char *name, const char *description,
                  struct port_end **ret_end, struct ob_fault *fault)
{
    struct port_end *end = calloc(1, sizeof(*end));
    if (!end)
        return ob_fault_set(fault, -ENOMEM, "no memory for %.100s", description);
    int err = end_source_open(description, name, &end->source, fault);
    if (err < 0) {
        free(end);
        return err;
    }
    end->hub = hub;
    end->key = hub->num_ends++;
    pump_init(&end->reader, -1);
    pump_init(&end->writer, -1);
    timer_init(&end->again, on_again, end);
    list_init(&end->link);
    list_append(&hub->ends, &end->link);
    *ret_end = end;
    return 0;
}

static int listen_in_loop(struct port_end *end)
{
    return loop_add(end->hub->loop, end->source.fd, EPOLLIN, on_connection, end, &end->listening);
}

int port_end_serve(struct port_end *end, port_end_fn changed, void *argument)
{
    end->changed = changed;
    end->argument = argument;
    int err = end->source.kind == END_LISTEN ? listen_in_loop(end) : 0;
    if (err == 0 && end->source.kind != END_LISTEN)
        port_hub_set_timer(end->hub, &end->again, clock_now_ns());
    return err;
}

int port_end_share(struct port_end *end, port_accept_fn accepted, void *argument)
{
    if (end->source.kind != END_LISTEN)
        return -EINVAL;
    end->accepted = accepted;
    end->argument = argument;
    return listen_in_loop(end);
}

void port_end_refuse_others(struct port_end *end)
{
    end->refuses_others = end->source.kind == END_LISTEN;
}

bool port_end_has_peer(const struct port_end *end)
{
    return end->peer;
}

bool port_end_is_lazy(const struct port_end *end)
{
    return end->source.kind == END_COMMAND;
}

bool port_end_is_permanent(const struct port_end *end)
{
    return end->source.kind == END_FILE || end->source.kind == END_PIPE;
}

bool port_end_is_closed(const struct port_end *end)
{
    return end->reader.closed || end->reader.broken;
}

bool port_end_has_gone(const struct port_end *end)
{
    int unread = 0;
    if (!end->peer || !port_end_is_closed(end))
        return false;
    return ioctl(end->reader.fd, FIONREAD, &unread) < 0 || unread == 0;
}

void port_end_begin(struct port_end *end)
{
    if (end->source.kind != END_COMMAND || end->begun)
        return;
    end->begun = true;
    ask(end);
}

ssize_t port_end_read(struct port_end *end, void *ret_bytes, size_t len)
{
    struct pump *pump = &end->reader;
    if (end->source.kind == END_FILE || !pump->readable)
        return -EAGAIN;
    ssize_t got = pump_read(pump, ret_bytes, len);
    if (got == 0 && end->source.kind == END_PIPE) { /* kept open by ourselves */
        pump->readable = false;
        return -EAGAIN;
    }
    if (got == -EINTR)
        return -EAGAIN;
    return got < 0 && got != -EAGAIN ? 0 : got;
}

ssize_t port_end_write(struct port_end *end, const struct iovec *spans, int count)
{
    struct pump *pump = writer_of(end);
    if (!pump->writable)
        return end->reader.broken ? -EPIPE : -EAGAIN;
    ssize_t put = pump_write(pump, spans, count);
    return put == -EINTR ? -EAGAIN : put;
}

/* Its descriptor, and those that the peer has sent, are closed without waiting. */
static void detach(struct port_end *end)
{
    int fd = end->reader.source ? pump_stop(&end->reader) : end->reader.fd;
    if (fd >= 0 && owns_fd(end))
        socket_close(fd);
    if (end->writer.source)
        pump_stop(&end->writer);
    pump_init(&end->reader, -1);
    pump_init(&end->writer, -1);
    end->peer = false;
    end->asked = 0;
}

void port_end_next(struct port_end *end)
{
    if (!end->peer)
        return;
    detach(end);
    if (end->source.kind == END_DESCRIPTOR) { /* there is no other */
        int fd = take_fd(&end->source.fd);
        if (fd >= 0)
            socket_close(fd);
        return;
    }
    uint64_t rest = end->source.kind == END_CONNECT ? REDIAL_NS : 0;
    if (end->source.kind == END_LISTEN)
        loop_change(end->listening, EPOLLIN);
    else
        port_hub_set_timer(end->hub, &end->again, clock_now_ns() + rest);
}

bool port_end_can_be_handed_over(const struct port_end *end)
{
    switch (end->source.kind) {
    case END_LISTEN:
    case END_CONNECT:
    case END_FILE:
    case END_PIPE:
        return true;
    case END_COMMAND:
        return !end->begun || end->reader.source;
    case END_TERMINAL:
    case END_DESCRIPTOR:
        break;
    }
    return false;
}

bool port_end_peers_have_fds(const struct port_end *end)
{
    return owns_fd(end);
}

int port_end_fd(const struct port_end *end)
{
    return owns_fd(end) && end->reader.source ? end->reader.fd : -1;
}

int port_end_adopt(struct port_end *end, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (!owns_fd(end) || end->peer || flags < 0 || !(flags & O_NONBLOCK) ||
        !descriptor_is_socket(fd))
        return -EINVAL;
    if (end->source.kind == END_LISTEN)
        loop_change(end->listening, end->refuses_others ? EPOLLIN : 0);
    end->begun = end->source.kind == END_COMMAND;
    attach(end, fd);
    return 0;
}

void port_end_resize(struct port_end *end, unsigned columns, unsigned rows)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    if (end->source.kind == END_TERMINAL)
        ioctl(end->source.fd, TIOCSWINSZ, &size);
}

const char *port_end_description(const struct port_end *end)
{
    return end->source.description;
}

bool end_needs_connector(const struct port_hub *hub, struct connector_needs *ret_needs)
{
    bool connects = false;
    *ret_needs = (struct connector_needs){0};
    for (struct list *link = hub->ends.next; link != &hub->ends; link = link->next) {
        const struct end_source *source = &list_entry(link, struct port_end, link)->source;
        ret_needs->commands |= source->kind == END_COMMAND;
        ret_needs->removes |= source->path[0] != '\0';
        connects |= source->kind == END_CONNECT;
        if (source->kind == END_CONNECT)
            connector_needs_address(ret_needs, &source->address);
    }
    return connects || ret_needs->commands || ret_needs->removes;
}

static struct port_end *find(const struct port_hub *hub, uint64_t key)
{
    for (struct list *link = hub->ends.next; link != &hub->ends; link = link->next) {
        struct port_end *end = list_entry(link, struct port_end, link);
        if (end->key == key)
            return end;
    }
    return NULL;
}

int end_resolve(const struct port_hub *hub, uint64_t key, struct connector_target *ret_target)
{
    const struct port_end *end = find(hub, key);
    if (!end || (end->source.kind != END_CONNECT && end->source.kind != END_COMMAND))
        return -EACCES;
    *ret_target = (struct connector_target){
        .command = end->source.kind == END_COMMAND ? end->source.command : NULL,
        .service = end->source.name,
        .address = end->source.address};
    return 0;
}

void end_remove_paths(const struct port_hub *hub)
{
    for (struct list *link = hub->ends.next; link != &hub->ends; link = link->next)
        end_source_remove(&list_entry(link, struct port_end, link)->source);
}

void end_take_answer(struct port_hub *hub, const struct connector_answer *answer, int fd)
{
    struct port_end *end = find(hub, answer->id >> 16);
    if (!end || end->asked != answer->id) { /* that session is over */
        if (fd >= 0)
            close(fd);
        return;
    }
    end->asked = 0;
    if (fd >= 0) {
        attach(end, fd);
    } else if (end->source.kind == END_CONNECT) {
        port_hub_set_timer(hub, &end->again, clock_now_ns() + REDIAL_NS);
    } else {
        ob_log("%s: can't start the command: %s", end->source.description,
               strerror(-answer->result));
        end->reader.broken = end->reader.hung_up = end->reader.readable = true; /* read: its end */
        report(end);
    }
}

void end_free_all(struct port_hub *hub)
{
    while (!list_empty(&hub->ends)) {
        struct port_end *end = list_entry(list_take(&hub->ends), struct port_end, link);
        timer_cancel(&end->again);
        detach(end);
        loop_remove(end->listening);
        end_source_close(&end->source);
        free(end);
    }
}
