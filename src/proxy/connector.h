// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connector: the process that connects, listens and starts commands for a proxy in a cell
 * (endpoint/outside.h). It is forked before the cell is entered and reads no byte of a peer but
 * the addresses, names of services and arguments of commands in the proxy's requests. The same
 * options judge each request, also if the proxy has been taken over:
 *
 *   DIAL    the channel's address, that of a service, or one that --allow-connect allows
 *   LISTEN  the channel's address, those of -L and -D, the control socket, or one that
 *           --allow-listen allows
 *   RUN     the command of a service, or any with --allow-run
 *   OPEN    the channel's port or line
 *   USER    of the peer of a socket that the proxy has
 *
 * It ends with the proxy, and removes the sockets' paths then.
 */
#ifndef OUTBOARD_PROXY_CONNECTOR_H
#define OUTBOARD_PROXY_CONNECTOR_H

#include <sys/resource.h>

#include "proxy/options.h"

/* Starts it. The caller has one thread. open_files: the soft limit of descriptors of commands.
 * Returns the descriptor behind which it stands, or a negative errno. */
int connector_start(const struct proxy_options *options, rlim_t open_files);

#endif
