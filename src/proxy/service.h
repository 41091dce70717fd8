// SPDX-License-Identifier: BSD-3-Clause
/* Service: the destinations of the peer's streams at our end, and those that are forbidden. */
#ifndef OUTBOARD_PROXY_SERVICE_H
#define OUTBOARD_PROXY_SERVICE_H

#include <outboard/session.h>

struct proxy;

/* The agent of an end; its metadata says who asks. */
#define AGENT_SERVICE "@agent"

/* Answers a stream that the peer opened, now or later. */
void service_incoming(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open);

#endif
