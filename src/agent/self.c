// SPDX-License-Identifier: BSD-3-Clause
#include "agent/self.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command.h"
#include "agent/internal.h"
#include "base/limits.h"

struct listing {
    const struct agent_policy *policy;
    struct json_out *out;
};

static bool is_enabled(const struct agent_policy *policy, const struct command *command)
{
    return !agent_policy_refusal(policy, command->name);
}

static void put_command(void *argument, const struct command *command)
{
    struct listing *listing = argument;
    json_out_begin(listing->out, '{');
    json_out_member_bool(listing->out, "enabled", is_enabled(listing->policy, command));
    json_out_member_string(listing->out, "name", command->name);
    json_out_member_bool(listing->out, "success-response", !(command->flags & COMMAND_SILENT));
    json_out_end(listing->out, '}');
}

static void put_name(void *argument, const struct command *command)
{
    struct listing *listing = argument;
    if (is_enabled(listing->policy, command))
        json_out_string(listing->out, command->name);
}

static void put_capabilities(const struct agent_policy *policy, struct json_out *out)
{
    struct listing listing = {policy, out};
    json_out_begin(out, '[');
    command_each(put_name, &listing);
    json_out_end(out, ']');
}

static void finish(struct call *call, struct json_out *out)
{
    json_out_end(out, '}');
    if (json_out_done(out) < 0)
        call_fail(call, "out of memory");
    else
        call_return(call, out->bytes, out->len);
    json_out_free(out);
}

static void tell_info(const struct agent *agent, struct call *call)
{
    struct json_out out;
    struct listing listing = {&agent->config.policy, &out};
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "version", OUTBOARD_VERSION);
    json_out_name(&out, "supported_commands");
    json_out_begin(&out, '[');
    command_each(put_command, &listing);
    json_out_end(&out, ']');
    finish(call, &out);
}

static void tell_hello(const struct agent *agent, struct call *call)
{
    char boot_id[64];
    struct json_out out;
    if (job_read_file("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id)) < 0) {
        call_fail(call, "can't read /proc/sys/kernel/random/boot_id: %s", strerror(errno));
        return;
    }
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "boot-id", boot_id);
    json_out_member_string(&out, "version", OUTBOARD_VERSION);
    json_out_name(&out, "capabilities");
    put_capabilities(&agent->config.policy, &out);
    finish(call, &out);
}

char *agent_capabilities(const struct agent_policy *policy)
{
    struct json_out out;
    char *text = NULL;
    json_out_init(&out, LIMIT_HOST_REQUEST);
    put_capabilities(policy, &out);
    if (json_out_done(&out) == 0)
        text = strndup(out.bytes, out.len);
    json_out_free(&out);
    return text;
}

void self_tell(const struct agent *agent, struct call *call)
{
    if (strcmp(call->command->name, "guest-hello") == 0)
        tell_hello(agent, call);
    else
        tell_info(agent, call);
}
