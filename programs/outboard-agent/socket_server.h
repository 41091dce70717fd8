// SPDX-License-Identifier: BSD-3-Clause
/* The agent at a Unix socket, without a channel. */
#ifndef OUTBOARD_PROGRAMS_SOCKET_SERVER_H
#define OUTBOARD_PROGRAMS_SOCKET_SERVER_H

#include "agent/agent.h"
#include "sandbox/confine.h"

/* Serves until a signal comes. Fills loop, timers and children of a copy of the configuration. The
 * exit status. */
int socket_server_run(const char *path, const struct agent_config *config, enum confine_how how);

#endif
