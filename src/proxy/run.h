// SPDX-License-Identifier: BSD-3-Clause
/* The serving side of `outboard proxy run`; wire/exec.h has the frames. */
#ifndef OUTBOARD_PROXY_RUN_H
#define OUTBOARD_PROXY_RUN_H

#include <outboard/session.h>
#include <stdbool.h>

#include "proxy/options.h"

/* The service that runs the command of START. */
#define RUN_SERVICE "@run"

/* The same by an end that takes the frames of version 2 too. One that does not has no such service.
 */
#define RUN_SERVICE_2 "@run2"

/* Likewise of version 3; a declared command is reached as "@run3/NAME". */
#define RUN_SERVICE_3        "@run3"
#define RUN_SERVICE_3_PREFIX RUN_SERVICE_3 "/"

/* Metadata of an OPEN that wants a declared command framed so too; START then names no command. */
#define RUN_METADATA "run"

struct proxy;

/* Accepts the stream and waits for its START. service: the declared command; NULL: START says.
 * tells_input: the client is of version 3. */
void run_serve(struct proxy *proxy, struct ob_stream *stream, const struct service *service,
               bool tells_input);

#endif
