// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host: the sockets of the host that a guest's ports are joined with.
 *
 * A program of the host connects to a Unix socket, PATH, and sends "CONNECT PORT\n". When the guest
 * has accepted, it reads "OK PORT\n", and then the guest's bytes. If the guest connects to a port, the
 * device connects to the Unix socket PATH_PORT, or to the address of a forward. These are the
 * conventions of Firecracker's socket device, which systemd's ssh proxy, socat and Kata's tools speak.
 *
 * Another guest has a device of its own. Whether the two may connect is up to both devices: each listens
 * at BASE_TO_FROM for each guest that its options allow, TO its own guest's context id, FROM the
 * other's. The line is "CONNECT PORT FROM PORT". Who comes by which path tells the context id, so no
 * guest can take another one's.
 *
 * The listeners are opened before the cell. A process outside of it (port/connector.h) connects, by
 * its own copy of the options.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_HOST_H
#define OUTBOARD_DEVICES_VSOCK_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "port/connector.h"
#include "vsock.h"

#define HOST_FORWARDS 64u

/* Guests that may be connected with. */
#define HOST_GUESTS 64u

/* Clients that have not sent their whole line yet. */
#define HOST_GREETINGS 64u

/* Of --forward: where a port of the host leads, instead of to PATH_PORT. */
struct host_forward {
    uint32_t port;
    struct address address;
};

/* Of --listen: who connects there is joined with a port of the guest, without a line. */
struct host_listen {
    struct address address;
    uint32_t guest_port;
};

struct host_options {
    const char *path;
    uint32_t guest_cid;
    const char *guests; /* the base of the paths between guests */
    uint32_t allowed[HOST_GUESTS];
    unsigned num_allowed;
    struct host_forward forwards[HOST_FORWARDS];
    unsigned num_forwards;
    struct host_listen listens[HOST_FORWARDS];
    unsigned num_listens;
    bool only_forwards; /* no PATH_PORT */
};

/* Descriptors besides those of connections, at most: listeners, clients that have not sent their line,
 * and answers of the process outside that are on their way. */
#define HOST_FILES (2 + HOST_FORWARDS + 2 * HOST_GUESTS + HOST_GREETINGS + 64)

struct host;

/* Opens the listeners and starts the process outside. The options are the callee's to keep. 0 or a
 * negative errno with the fault filled. */
int host_open(struct host_options *options, struct host **ret_host, struct ob_fault *fault);
/* NULL is fine. */
void host_close(struct host *host);

/* vsock_ops.dial: context is the host. */
int host_dial(void *context, uint32_t call, struct connection_peer peer, enum packet_type type);

/* Serves the host's programs from now on, on the device's loop. 0 or a negative errno. */
int host_serve(struct host *host, struct vsock *vsock, struct ob_device *device,
               struct ob_fault *fault);
/* Before the device is freed. */
void host_stop(struct host *host);

#endif
