// SPDX-License-Identifier: BSD-3-Clause
#include "server/trace.h"

#include "server/engine.h"

void trace_message(const struct engine *engine, bool got, const uint8_t *bytes, size_t len,
                   unsigned num_fds)
{
    const struct trace_message message = {
        .got = got, .bytes = bytes, .len = len, .num_fds = num_fds};
    engine->ops->trace(engine, &message);
}
