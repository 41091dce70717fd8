// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host service: with --events, the other end may call host-hello, host-ping and host-event here, by the
 * wire of the agent. docs/agent.md specifies it.
 */
#ifndef OUTBOARD_PROXY_HOST_SERVICE_H
#define OUTBOARD_PROXY_HOST_SERVICE_H

#include <outboard/fault.h>
#include <outboard/session.h>

#define HOST_SERVICE "@host"

struct host_service;
struct proxy;

/* *ret_service is NULL without --events. 0 or a negative errno with the fault filled. */
int host_service_new(struct proxy *proxy, struct host_service **ret_service,
                     struct ob_fault *fault);
/* NULL is fine. Its streams are ended. */
void host_service_free(struct host_service *service);

/* The peer has opened a stream to it. */
void host_service_open(struct proxy *proxy, struct ob_stream *stream);

/* Another session stands: who spoke before is not who speaks now. */
void host_service_forget_peer(struct host_service *service);

#endif
