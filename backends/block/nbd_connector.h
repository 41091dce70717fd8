// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connector: a process that connects to one NBD server, as often as it is asked to.
 *
 * A device in a cell has no paths, no network and often another user id. So a child that was made
 * before stays outside. It looks the name up, connects, and hands the connected socket over. It
 * reads nothing but requests without content and goes with the device, so a device that was taken
 * over gets connections to its own server and no others.
 *
 * A request is a call: a socket pair of its own, whose other end the connector gets. If the caller
 * closes the call, the connector gives the attempt up, unless it is looking a name up.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_CONNECTOR_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_CONNECTOR_H

#include <outboard/fault.h>

struct nbd_connector;

/* The result of a call: two descriptors of one connected socket, or a reason. */
struct nbd_connected {
    int fd;   /* -1: not connected */
    int copy; /* the same socket: to shut it down while fd is somebody else's */
    char reason[160];
};

/* The caller has one thread. 0, or a negative errno with the fault filled. */
int nbd_connector_start(const char *uri, struct nbd_connector **ret_connector,
                        struct ob_fault *fault);
const char *nbd_connector_export(const struct nbd_connector *connector);

/* Asks for a connection. Returns a descriptor that is readable when there is an answer, or a
 * negative errno. */
int nbd_connector_call(const struct nbd_connector *connector);
/* Waits for the answer to a call; shutdown(2) of the call ends that. */
void nbd_connector_await(int call, struct nbd_connected *ret_connected);

/* NULL is fine. Calls continue. */
void nbd_connector_free(struct nbd_connector *connector);

#endif
