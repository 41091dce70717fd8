// SPDX-License-Identifier: BSD-3-Clause
#include "port/listener.h"

#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "endpoint/acceptor.h"

#define SOCKET_MODE 0600

int port_listener_open(const struct address *address, bool messages,
                       struct port_listener *ret_listener, struct ob_fault *fault)
{
    struct port_listener listener = {.messages = messages, .address = address};
    listener.fd = messages ? socket_listen_messages(address->name, SOCKET_MODE)
                           : acceptor_open(address, SOCKET_MODE);
    if (listener.fd < 0) {
        char text[ADDRESS_TEXT_MAX];
        address_format(address, text);
        return ob_fault_set(fault, listener.fd, "can't listen at %.180s: %s", text,
                            strerror(-listener.fd));
    }
    if (messages)
        socket_refuse_fds(listener.fd);
    if (address->kind == ADDRESS_UNIX)
        socket_find(address->name, &listener.place);
    *ret_listener = listener;
    return 0;
}

void port_listener_remove(const struct port_listener *listener)
{
    if (listener->address->kind == ADDRESS_UNIX && listener->address->name[0] != '@')
        socket_remove(listener->address->name, &listener->place);
}

void port_listener_close(struct port_listener *listener)
{
    if (listener->fd >= 0)
        socket_listener_close(take_fd(&listener->fd));
}

int port_listener_accept(const struct port_listener *listener)
{
    int fd = socket_accept(listener->fd);
    return fd == -ECONNABORTED || fd == -EINTR ? -EAGAIN : fd;
}
