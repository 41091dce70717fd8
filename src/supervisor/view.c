// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client of a view may have another user's rights than the supervisor, and no more than one device is
 * to be its own. So it names no program and no file, which the supervisor would start or open with its
 * rights, and no policy that affects the VM.
 */
#include "supervisor/view.h"

#include <string.h>

int view_open(struct plug *plug, struct ob_fault *fault)
{
    const struct supervisor *supervisor = plug->supervisor;
    const struct plan_device *plan = &supervisor->plan->devices[plug - supervisor->plugs];
    if (!plan->monitor)
        return 0;
    return monitor_new_view(supervisor->monitor, plan->monitor, &plan->monitor_access, plan->id,
                            &plug->monitor, fault);
}

void view_close(struct plug *plug)
{
    monitor_free(plug->monitor);
    plug->monitor = NULL;
}

static bool is_policy(const struct monitor_call *call, const char *name)
{
    const char *policy = monitor_text(call, "on-hang");
    return policy && strcmp(policy, name) == 0;
}

const char *view_refusal(const struct monitor_call *call)
{
    const char *command = monitor_command(call);
    if (strcmp(command, "trace") == 0 && monitor_text(call, "file"))
        return "file: got a path, expected none: this socket traces to the log; use the machine's "
               "control socket";
    if (strcmp(command, "upgrade") == 0 && monitor_text(call, "program"))
        return "program: got another program, expected none; use the machine's control socket";
    if (strcmp(command, "policy") == 0 && (is_policy(call, "kill") || is_policy(call, "pause")))
        return "on-hang: got a policy for the VM, expected fail or restart; use the machine's "
               "control socket";
    return NULL;
}
