// SPDX-License-Identifier: BSD-3-Clause
/* The serving side of `outboard proxy run`; wire/run.h has the frames. */
#ifndef OUTBOARD_PROXY_RUN_H
#define OUTBOARD_PROXY_RUN_H

#include <outboard/session.h>

#include "proxy/options.h"

/* The service that runs what START says. */
#define RUN_SERVICE "@run"

/* The same by an end that takes the frames of version 2 too. One that does not has no such service.
 */
#define RUN_SERVICE_2 "@run2"

/* Metadata of an OPEN that wants a declared command framed so too; START then names no command. */
#define RUN_METADATA "run"

struct proxy;

/* Accepts the stream and waits for its START. service: the declared command; NULL: START says. */
void run_serve(struct proxy *proxy, struct ob_stream *stream, const struct service *service);

#endif
