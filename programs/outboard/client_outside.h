// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client outside: the process outside the cell of a command (proxy_client.h). It connects to the
 * control socket of the command line, or starts the proxy of --channel, as often as the command asks.
 * A request carries no address. The process reads no byte of a proxy, and ends with its command.
 */
#ifndef OUTBOARD_PROGRAMS_CLIENT_OUTSIDE_H
#define OUTBOARD_PROGRAMS_CLIENT_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/options.h"

struct client_target {
    const char *control;               /* NULL: proxy */
    const struct proxy_options *proxy; /* of one that is this command's alone */
    bool is_confined;                  /* gives up the rights that it does not need */
};

/* The caller has one thread. The target has to live as long as the process. Returns the descriptor
 * behind which it stands, or a negative errno. */
int client_outside_start(const struct client_target *target);

/* A connected socket, or a negative errno. A proxy that it started before has ended then. */
int client_outside_connect(int outside, uint32_t timeout_s);

/* Ends a proxy that it has started, and waits for its end. */
void client_outside_hang_up(int outside);

#endif
