// SPDX-License-Identifier: BSD-3-Clause
/* The agent that an end of a channel has. */
#ifndef OUTBOARD_PROGRAMS_PROXY_AGENT_H
#define OUTBOARD_PROGRAMS_PROXY_AGENT_H

#include <outboard/fault.h>

struct agent;
struct proxy;
struct proxy_options;

/* Runs a proxy until it ends. The exit status. */
int proxy_serve(const struct proxy_options *options);

/* Starts an agent on the proxy's loop, if its options allow the other end to use it; else
 * *ret_agent stays NULL. 0 or a negative errno with the fault filled. */
int proxy_agent_start(struct proxy *proxy, struct agent **ret_agent, struct ob_fault *fault);
/* Before proxy_done(). */
void proxy_agent_end(struct proxy *proxy, struct agent *agent);

#endif
