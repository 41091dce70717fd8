// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_agent.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "base/auto.h"
#include "proxy/proxy.h"

static int connect_agent(void *argument, const char *caller)
{
    return agent_connect(argument, caller);
}

int proxy_agent_start(struct proxy *proxy, struct agent **ret_agent, struct ob_fault *fault)
{
    const struct proxy_options *options = proxy->options;
    const char *lists[] = {options->agent.allow, options->agent.block};
    if (!options->allow_agent && !options->trust_peer)
        return 0;
    for (int i = 0; i < 2; i++) {
        if (lists[i] && !agent_policy_check_list(lists[i], fault))
            return -EINVAL;
    }
    const struct agent_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .children = proxy->children,
        .policy = {.allow = options->agent.allow,
                   .block = options->agent.block,
                   .read_only = options->agent.read_only},
        .state_dir = options->agent.state_dir,
        .freeze_hook = options->agent.freeze_hook,
    };
    int err = agent_new(&config, ret_agent, fault);
    if (err < 0)
        return err;
    proxy->agent.connect = connect_agent;
    proxy->agent.argument = *ret_agent;
    proxy->agent.capabilities = agent_capabilities(*ret_agent);
    return 0;
}

void proxy_agent_end(struct proxy *proxy, struct agent *agent)
{
    proxy->agent.connect = NULL;
    free(take_ptr(&proxy->agent.capabilities));
    agent_free(agent);
}
