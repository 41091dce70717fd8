// SPDX-License-Identifier: BSD-3-Clause
/* Listener: a socket at which programs of the host connect to a device. */
#ifndef OUTBOARD_PORT_LISTENER_H
#define OUTBOARD_PORT_LISTENER_H

#include <outboard/fault.h>

#include "endpoint/address.h"
#include "os/socket.h"

struct port_listener {
    int fd;
    bool messages;
    const struct address *address;
    struct socket_place place; /* of a path */
};

/* Listens, with permissions 600 at a path. messages: for SOCK_SEQPACKET, at a path. The address must
 * outlive the listener. 0 or a negative errno with the fault filled. */
/* Before an address is listened at. If another process of the device has died, its listener is still
 * open: the path seems to be in use until this process is ready, and is freed here. Clients that nobody
 * has accepted are lost. 0, or -ENOTSUP with the fault filled for an address that has no path. */
int port_listener_make_way(const struct address *address, struct ob_fault *fault);

int port_listener_open(const struct address *address, bool messages,
                       struct port_listener *ret_listener, struct ob_fault *fault);
/* Removes its path, unless somebody has put another socket there. */
void port_listener_remove(const struct port_listener *listener);
void port_listener_close(struct port_listener *listener);

/* The next connection, non-blocking, or a negative errno; -EAGAIN: nobody waits. */
int port_listener_accept(const struct port_listener *listener);

#endif
