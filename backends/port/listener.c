// SPDX-License-Identifier: BSD-3-Clause
#include "port/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/vault.h>

#include "base/auto.h"
#include "endpoint/acceptor.h"

#define SOCKET_MODE 0600

static bool has_path(const struct address *address)
{
    return address->kind == ADDRESS_UNIX && address->name[0] != '@';
}

int port_listener_make_way(const struct address *address, struct ob_fault *fault)
{
    struct stat status;
    const enum ob_vault_role role = ob_vault_role();
    if (role != OB_VAULT_NONE && !has_path(address))
        return ob_fault_set(
            fault, -ENOTSUP,
            "got on-death = \"restart\" with a listener at no path, expected "
            "unix:PATH: the address of a process that has died is not free at once");
    if (role == OB_VAULT_SUCCESSOR && lstat(address->name, &status) == 0 &&
        S_ISSOCK(status.st_mode))
        unlink(address->name);
    return 0;
}

int port_listener_open(const struct address *address, bool messages,
                       struct port_listener *ret_listener, struct ob_fault *fault)
{
    struct port_listener listener = {.messages = messages, .address = address};
    int err = port_listener_make_way(address, fault);
    if (err < 0)
        return err;
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
    if (has_path(listener->address))
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
