// SPDX-License-Identifier: BSD-3-Clause
/*
 * include/outboard/server.h: a device on a loop whose descriptor an application waits for.
 *
 * A server has a VMM while fd is one. Until its first bytes tell the wire, `greeting` waits for
 * them; from then on there are an engine and a connection. `again` is an eventfd on the same loop:
 * written when a device has more to do, so that the application's loop comes back.
 */
#include <outboard/server.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/sized.h"
#include "os/closer.h"
#include "os/event.h"
#include "os/loop.h"
#include "os/socket.h"
#include "program/connection.h"
#include "program/host.h"
#include "program/process.h"
#include "program/wires.h"

struct ob_server {
    struct ob_device *device;
    const struct engine_ops *wire; /* NULL: the VMM's */
    struct loop *loop;
    bool has_device; /* the device's descriptors are on the loop */
    int again_fd;
    struct loop_source *again;
    int fd; /* -1: there is no VMM */
    struct loop_source *greeting;
    uint32_t heard; /* by it: events since the last look */
    struct engine *engine;
    struct connection connection;
    int over; /* why the VMM has gone, while the device lets go of its memory */
    struct ob_fault fault;
};

static void on_again(void *argument, uint32_t events)
{
    const struct ob_server *server = argument;
    event_drain(server->again_fd);
}

static void come_back(const struct ob_server *server)
{
    const uint64_t one = 1;
    ssize_t written = write(server->again_fd, &one, sizeof(one)); /* ours, and was drained */
    (void)written;
}

static void on_greeting(void *argument, uint32_t events)
{
    struct ob_server *server = argument;
    server->heard |= events;
}

static int read_options(const struct ob_server_options *given, struct ob_server *server,
                        struct ob_fault *fault)
{
    struct ob_server_options options = {0};
    if (!given)
        return 0;
    int err = sized_copy(given, SIZED_UP_TO(struct ob_server_options, dma_by_messages), &options,
                         sizeof(options), "ob_server_options", fault);
    if (err < 0)
        return err;
    if (options.wire)
        err = wires_find("ob_server_options.wire", options.wire, &server->wire, fault);
    if (err < 0 || !options.dma_by_messages)
        return err;
    err = wires_use_messages("ob_server_options.dma_by_messages", &server->wire, fault);
    if (err == 0)
        memory_never_map(device_memory(server->device));
    return err;
}

static int prepare_loop(struct ob_server *server)
{
    int err = loop_new(&server->loop);
    if (err == 0)
        err = server->again_fd = event_new();
    if (err >= 0)
        err = loop_add(server->loop, server->again_fd, EPOLLIN, on_again, server, &server->again);
    if (err < 0)
        return err;
    err = program_host_use_loop(server->device, server->loop);
    server->has_device = err != -EBUSY; /* else some of its descriptors are there */
    return err;
}

int ob_server_new(struct ob_device *device, const struct ob_server_options *options,
                  struct ob_server **ret_server, struct ob_fault *fault)
{
    if (!device || !ret_server)
        return ob_fault_set(fault, -EINVAL, "ob_server_new(): device or ret_server is NULL");
    struct ob_server *server = malloc(sizeof(*server));
    if (!server)
        return ob_fault_set(fault, -ENOMEM, "no memory for a server");
    *server = (struct ob_server){.device = device, .again_fd = -1, .fd = -1};
    int err = process_start_threads(); /* first: ob_server_free() stops them */
    if (err == 0)
        err = process_prepare();
    if (err == 0)
        err = prepare_loop(server);
    if (err < 0)
        ob_fault_set(fault, err, "can't make a server: %s",
                     err == -EBUSY ? "the device already has one" : strerror(-err));
    else
        err = read_options(options, server, fault);
    if (err < 0) {
        ob_server_free(server);
        return err;
    }
    *ret_server = server;
    return 0;
}

int ob_server_fd(const struct ob_server *server)
{
    return server ? loop_fd(server->loop) : -1;
}

/* From now on the VMM on fd is served over that wire. */
static int begin(struct ob_server *server, int fd, const struct engine_ops *wire,
                 struct ob_fault *fault)
{
    int err = engine_new(wire, server->device, &server->engine, fault);
    if (err == 0)
        err = connection_begin(&server->connection, fd, server->loop, server->engine, fault);
    if (err < 0) {
        engine_free(server->engine);
        server->engine = NULL;
    }
    return err;
}

int ob_server_connect(struct ob_server *server, int fd, struct ob_fault *fault)
{
    if (!server)
        return ob_fault_set(fault, -EINVAL, "there is no server");
    if (server->fd >= 0)
        return ob_fault_set(fault, -EBUSY, "the server has a VMM");
    int err = socket_check(fd);
    if (err < 0)
        return ob_fault_set(fault, err, "descriptor %d is not a connected stream socket: %s", fd,
                            strerror(-err));
    if (server->wire) {
        err = begin(server, fd, server->wire, fault);
    } else {
        server->heard = 0;
        err = loop_add(server->loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_greeting, server,
                       &server->greeting);
        if (err < 0)
            ob_fault_set(fault, err, "can't wait for the VMM's socket: %s", strerror(-err));
    }
    if (err == 0)
        server->fd = fd;
    return err;
}

bool ob_server_is_connected(const struct ob_server *server)
{
    return server && server->fd >= 0;
}

static void disconnect(struct ob_server *server)
{
    if (server->fd < 0)
        return;
    loop_remove(server->greeting);
    server->greeting = NULL;
    if (server->engine && server->over == 0)
        connection_end(&server->connection);
    engine_free(server->engine);
    server->engine = NULL;
    server->over = 0;
    socket_close(take_fd(&server->fd));
}

/* Looks whether the VMM has said enough to tell its wire. */
static int greet(struct ob_server *server, struct ob_fault *fault)
{
    const struct engine_ops *wire = NULL;
    bool is_last = server->heard & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    server->heard = 0;
    int err = wires_peek(server->fd, &wire, fault);
    if (err == -EAGAIN)
        return is_last ? -ENOTCONN : 0;
    if (err < 0)
        return err;
    loop_remove(server->greeting);
    server->greeting = NULL;
    return begin(server, server->fd, wire, fault);
}

/* Without an engine: the device's descriptors, and a VMM's first bytes. */
static int dispatch_loop(struct ob_server *server, struct ob_fault *fault)
{
    int err = loop_wait(server->loop, 0);
    if (err >= 0 && server->fd >= 0 && server->heard)
        return greet(server, fault);
    return err < 0 ? ob_fault_set(fault, err, "can't wait for descriptors: %s", strerror(-err)) : 0;
}

/* The VMM has gone: the device lets go of its memory. *ret_more as connection_dispatch(); once the
 * device has, why the VMM has gone. */
static int leave(struct ob_server *server, bool *ret_more, struct ob_fault *fault)
{
    int err = loop_wait(server->loop, 0);
    *ret_more = err >= 0 && engine_works(server->engine);
    if (err >= 0 && !engine_leave(server->engine))
        return 0;
    if (fault)
        *fault = server->fault;
    return server->over;
}

static int serve(struct ob_server *server, bool *ret_more, struct ob_fault *fault)
{
    if (!server->engine)
        return dispatch_loop(server, fault);
    if (server->over < 0)
        return leave(server, ret_more, fault);
    server->fault = (struct ob_fault){0};
    int err = connection_dispatch(&server->connection, ret_more, &server->fault);
    if (err >= 0)
        return 0;
    server->over = err;
    connection_end(&server->connection);
    return leave(server, ret_more, fault);
}

int ob_server_dispatch(struct ob_server *server, struct ob_fault *fault)
{
    bool more = false;
    if (!server)
        return ob_fault_set(fault, -EINVAL, "there is no server");
    int err = serve(server, &more, fault);
    if (err < 0)
        disconnect(server);
    else if (more)
        come_back(server);
    return err;
}

void ob_server_free(struct ob_server *server)
{
    if (!server)
        return;
    disconnect(server);
    if (server->has_device)
        program_host_use_loop(server->device, NULL);
    loop_free(server->loop);
    auto_close(&server->again_fd);
    closer_stop(0);
    free(server);
}
