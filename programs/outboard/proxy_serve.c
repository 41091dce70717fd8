// SPDX-License-Identifier: BSD-3-Clause
#include <stdlib.h>

#include "proxy/proxy.h"
#include "proxy_agent.h"

int proxy_serve(const struct proxy_options *options)
{
    struct proxy proxy;
    struct agent *agent = NULL;
    struct ob_fault fault = {0};
    int status = EXIT_FAILURE;
    int err = proxy_init(&proxy, options, &fault);
    if (err == 0)
        err = proxy_agent_start(&proxy, &agent, &fault);
    if (err < 0)
        proxy_log("%s", fault.text);
    else
        status = proxy_run(&proxy);
    proxy_agent_end(&proxy, agent);
    proxy_done(&proxy);
    return status;
}
