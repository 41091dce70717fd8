// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/proxy.h"
#include "proxy/relay.h"
#include "proxy/socks.h"

#define BACKLOG 512

/* How long to leave a listener alone that can't accept (no descriptors left). */
#define REST_NS 100000000u

struct listener {
    struct proxy *proxy;
    struct list link; /* proxy.listeners */
    struct forward forward;
    int fd;
    struct loop_source *source;
    struct timer rest;
};

static int bind_and_listen(const struct address *address)
{
    const int on = 1;
    struct sockaddr_storage kernel;
    int len = address_to_kernel(address, &kernel);
    AUTO_FD fd = socket(kernel.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (len < 0 || fd < 0)
        return len < 0 ? len : -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socket_refuse_fds(fd);
    if (bind(fd, (const struct sockaddr *)&kernel, (socklen_t)len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

int listener_socket(const struct address *address)
{
    if (address->kind != ADDRESS_UNIX || address->name[0] == '@')
        return bind_and_listen(address);
    AUTO_FD fd = socket_listen(address->name, 0600);
    if (fd >= 0)
        socket_refuse_fds(fd);
    if (fd >= 0 && listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

static void on_rested(void *argument)
{
    struct listener *listener = argument;
    loop_change(listener->source, EPOLLIN);
}

static void on_connection(void *argument, uint32_t events)
{
    struct listener *listener = argument;
    struct proxy *proxy = listener->proxy;
    int fd = socket_accept(listener->fd);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
        proxy_log("can't accept a connection: %s", strerror(-fd));
        loop_change(listener->source, 0);
        timer_set(&proxy->timers, &listener->rest, clock_now_ns() + REST_NS);
    }
    if (fd < 0)
        return;
    if (listener->forward.listen.kind == ADDRESS_TCP)
        socket_set_no_delay(fd);
    if (listener->forward.service[0])
        relay_open(proxy, fd, listener->forward.service, NULL, NULL);
    else
        socks_serve(proxy, fd);
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    const struct address *address = &listener->forward.listen;
    if (address->kind == ADDRESS_UNIX && address->name[0] != '@' && listener->fd >= 0)
        unlink(address->name);
    timer_cancel(&listener->rest);
    list_remove(&listener->link);
    loop_remove(listener->source);
    if (listener->fd >= 0)
        socket_listener_close(listener->fd);
    free(listener);
}

int listener_new(struct proxy *proxy, const struct forward *forward, struct listener **ret_listener)
{
    struct listener *listener = malloc(sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    *listener = (struct listener){.proxy = proxy, .forward = *forward};
    timer_init(&listener->rest, on_rested, listener);
    list_init(&listener->link);
    listener->fd = listener_socket(&forward->listen);
    int err = listener->fd < 0 ? listener->fd
                               : loop_add(proxy->loop, listener->fd, EPOLLIN, on_connection,
                                          listener, &listener->source);
    if (err < 0) {
        listener_free(listener);
        return err;
    }
    list_append(&proxy->listeners, &listener->link);
    *ret_listener = listener;
    return 0;
}

void listener_free_all(struct proxy *proxy)
{
    struct list *next;
    for (struct list *link = proxy->listeners.next; link != &proxy->listeners; link = next) {
        next = link->next;
        listener_free(list_entry(link, struct listener, link));
    }
}

void listener_address(const struct listener *listener, char ret_text[ADDRESS_TEXT_MAX])
{
    struct address address = listener->forward.listen;
    struct sockaddr_storage kernel;
    socklen_t len = sizeof(kernel);
    if (address.kind == ADDRESS_TCP &&
        getsockname(listener->fd, (struct sockaddr *)&kernel, &len) == 0)
        address_from_kernel(&kernel, &address);
    address_format(&address, ret_text);
}
