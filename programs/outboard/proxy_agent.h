// SPDX-License-Identifier: BSD-3-Clause
/* The agent that an end of a channel has, as its proxy sees it (agent_process.h). */
#ifndef OUTBOARD_PROGRAMS_PROXY_AGENT_H
#define OUTBOARD_PROGRAMS_PROXY_AGENT_H

#include <outboard/fault.h>

struct proxy;
struct proxy_options;

/* Runs a proxy until it ends. The exit status. */
int proxy_serve(const struct proxy_options *options);

/* For struct serve_agent. */
int proxy_agent_join(struct proxy *proxy, int fd, void **ret_link, struct ob_fault *fault);
void proxy_agent_leave(struct proxy *proxy, void *link);

#endif
