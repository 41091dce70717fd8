// SPDX-License-Identifier: BSD-3-Clause
#include "agent_confine.h"

#include <string.h>

#include "os/log.h"
#include "sandbox/outsider.h"

int agent_confine(enum confine_how how, const struct agent_policy *policy, const char *hook,
                  struct ob_fault *fault)
{
    const struct outsider_plan plan = {
        .starts_programs = hook || !agent_policy_refusal(policy, "guest-exec"),
        .execs_helpers = true,
        .writes_files = true,
    };
    int err = how == CONFINE_NONE ? 0 : outsider_confine(&plan);
    if (err < 0 && how == CONFINE_REQUIRED)
        return ob_fault_set(fault, err, "--cell=required: the agent's process: got '%s'",
                            strerror(-err));
    if (err < 0)
        log_line("cell: the agent's process continues without a part: got '%s'", strerror(-err));
    return 0;
}
