// SPDX-License-Identifier: BSD-3-Clause
/* Connection: a client of the agent. */
#ifndef OUTBOARD_AGENT_CONNECTION_H
#define OUTBOARD_AGENT_CONNECTION_H

struct agent;

/* Serves a client at a socket, which it takes. 0, or a negative errno when the socket is closed. */
int connection_new(struct agent *agent, int fd, const char *caller);
void connection_free_all(struct agent *agent);

#endif
