// SPDX-License-Identifier: BSD-3-Clause
/*
 * Vsock: a virtio socket device, type 19. It joins ports of a guest with sockets of the host.
 *
 * Who provides the host's sockets is behind vsock_ops, so that tests can do without files.
 *
 * Source: OASIS virtio 1.2, section 5.10.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_VSOCK_H
#define OUTBOARD_DEVICES_VSOCK_VSOCK_H

#include <stdbool.h>

#include <outboard/device.h>

#include "connection.h"
#include "packet.h"

#define VSOCK_CONNECTIONS_MAX     4096u
#define VSOCK_CONNECTIONS_DEFAULT 1024u

/* Ports that the device gives to the host's clients, as Firecracker does. */
#define VSOCK_FIRST_CLIENT_PORT (1u << 30)

struct vsock;

struct vsock_ops {
    /* Connects to the destination of a port of the host, or to the device of another guest;
     * vsock_dialled() has the answer. 0 or a negative errno: the guest's request is refused. */
    int (*dial)(void *context, uint32_t call, struct connection_peer peer, enum packet_type type);
};

struct vsock_options {
    uint64_t guest_cid; /* 3 to 2^32 - 2 */
    uint32_t connections;
    const struct vsock_ops *ops;
    void *context;
    struct lasting *lasting; /* of vsock_lasting(); NULL: streams end with the process */
};

/* Makes that memory for so many connections, if there is a vault; else it is NULL. Before the cell. The
 * caller frees it, after the device. 0 or a negative errno. */
int vsock_lasting(uint32_t connections, struct lasting **ret_lasting);

/* 0 or a negative errno with the fault filled. */
int vsock_new(const struct vsock_options *options, struct vsock **ret_vsock,
              struct ob_device **ret_device, struct ob_fault *fault);
/* After ob_device_free(). NULL is fine. */
void vsock_free(struct vsock *vsock);

/* The answer to a dial: a connected, non-blocking socket, the callee's, or a negative errno. */
void vsock_dialled(struct vsock *vsock, uint32_t call, int fd);

/* A client of the host has asked for a port of the guest. The socket is the callee's on success.
 * announce: when the guest accepts, the client reads "OK PORT\n" first. 0, -ENETDOWN if no guest's driver is
 * there, -EPROTONOSUPPORT if that driver knows no seqpacket, or -ENOBUFS if there are too many
 * connections. */
int vsock_connect(struct vsock *vsock, int fd, uint32_t guest_port, enum packet_type type,
                  bool announce);

/* Likewise for the port of another guest, whose device reads "OK PORT\n" first. -EADDRINUSE: the guest
 * has a connection with that port. */
int vsock_connect_peer(struct vsock *vsock, int fd, uint32_t guest_port,
                       struct connection_peer peer, enum packet_type type);

#endif
