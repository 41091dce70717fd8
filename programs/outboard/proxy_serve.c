// SPDX-License-Identifier: BSD-3-Clause
#include "agent_process.h"
#include "proxy/serve.h"
#include "proxy_agent.h"

int proxy_serve(const struct proxy_options *options)
{
    static const struct serve_agent agent = {
        .start = agent_process_start, .join = proxy_agent_join, .leave = proxy_agent_leave};
    return serve_proxy(options, -1, &agent);
}
