// SPDX-License-Identifier: BSD-3-Clause
/*
 * Agent front: a stock qemu-ga, which has one parser and never closes its port, for any number of host
 * clients. Whole requests are forwarded, one at a time, and each answer goes to its own client.
 */
#ifndef OUTBOARD_PORT_AGENT_FRONT_H
#define OUTBOARD_PORT_AGENT_FRONT_H

#include <stdbool.h>
#include <stddef.h>

#include "port/end.h"

struct agent_front;

/* changed: there are bytes for the agent. end: one that listens. 0 or a negative errno. */
int agent_front_new(struct port_hub *hub, struct port_end *end, port_end_fn changed, void *argument,
                    struct agent_front **ret_front);
/* NULL is fine. */
void agent_front_free(struct agent_front *front);

/* The agent has opened its port, or closed it. */
void agent_front_open(struct agent_front *front);
void agent_front_close(struct agent_front *front);

/* Bytes of the agent. */
void agent_front_take(struct agent_front *front, const char *bytes, size_t len);

/* Bytes for the agent, valid until the next call. Returns how many there are. */
size_t agent_front_peek(const struct agent_front *front, const char **ret_bytes);
void agent_front_sent(struct agent_front *front, size_t len);

unsigned agent_front_clients(const struct agent_front *front);
/* Whether the agent owes an answer. */
bool agent_front_is_busy(const struct agent_front *front);

#endif
