// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/proxy.h"
#include "proxy/serve.h"
#include "proxy_agent.h"

static int start(struct proxy *proxy, void **ret_agent, struct ob_fault *fault)
{
    struct agent *agent = NULL;
    int err = proxy_agent_start(proxy, &agent, fault);
    if (err == 0)
        *ret_agent = agent;
    return err;
}

static void end(struct proxy *proxy, void *agent)
{
    proxy_agent_end(proxy, agent);
}

int proxy_serve(const struct proxy_options *options)
{
    static const struct serve_agent agent = {.start = start, .end = end};
    return serve_proxy(options, -1, &agent);
}
