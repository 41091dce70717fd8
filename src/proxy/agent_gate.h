// SPDX-License-Identifier: BSD-3-Clause
/*
 * Gate: between a client here and the agent of the other end, if requests have a policy at this end. A
 * request that the policy forbids is answered here, and the agent never sees it.
 */
#ifndef OUTBOARD_PROXY_AGENT_GATE_H
#define OUTBOARD_PROXY_AGENT_GATE_H

#include "proxy/relay.h"

/* Opens a stream to the agent for a client at a connected socket: through a gate, or, without a policy,
 * by relay_open(), whose parameters these are. */
void agent_gate_open(struct proxy *proxy, int fd, const char *caller, relay_answer_fn answer);

/* Ends all. */
void agent_gate_end_all(struct proxy *proxy);

#endif
