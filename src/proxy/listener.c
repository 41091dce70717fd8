// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/acceptor.h"
#include "proxy/agent_gate.h"
#include "proxy/credentials.h"
#include "proxy/proxy.h"
#include "proxy/relay.h"
#include "proxy/service.h"
#include "proxy/socks.h"

struct listener {
    struct proxy *proxy;
    struct list link; /* proxy.listeners */
    struct forward forward;
    char text[ADDRESS_TEXT_MAX];
    struct acceptor *acceptor;
};

static void on_connection(void *argument, int fd)
{
    struct listener *listener = argument;
    char caller[CREDENTIALS_TEXT_MAX];
    if (strcmp(listener->forward.service, AGENT_SERVICE) == 0) {
        credentials_describe(fd, listener->proxy->dialer.outside, caller);
        agent_gate_open(listener->proxy, fd, *caller ? caller : NULL, NULL);
    } else if (listener->forward.service[0])
        relay_open(listener->proxy, fd, listener->forward.service, NULL, NULL);
    else
        socks_serve(listener->proxy, fd);
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    acceptor_free(listener->acceptor);
    list_remove(&listener->link);
    free(listener);
}

int listener_new(struct proxy *proxy, const struct forward *forward, struct listener **ret_listener)
{
    struct listener *listener = malloc(sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    *listener = (struct listener){.proxy = proxy, .forward = *forward};
    list_init(&listener->link);
    address_format(&forward->listen, listener->text);
    const struct acceptor_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .mode = proxy->options->socket_mode,
        .title = listener->text,
        .outside = proxy->dialer.outside,
        .accepted = on_connection,
        .argument = listener,
    };
    int err = acceptor_new(&forward->listen, &config, &listener->acceptor);
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
    acceptor_address(listener->acceptor, ret_text);
}
