// SPDX-License-Identifier: BSD-3-Clause
#include "agent/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/command.h"
#include "agent/freezer.h"
#include "agent/internal.h"
#include "agent/worker.h"
#include "base/limits.h"
#include "os/log.h"

static const char *const members[] = {"execute", "arguments", "id"};

static bool list_has(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* Why the policy forbids a command; NULL: it does not. */
static const char *refusal(const struct agent *agent, const struct command *command)
{
    const struct agent_policy *policy = &agent->config.policy;
    if (policy->allow && !list_has(policy->allow, command->name))
        return "the command is not allowed";
    if (list_has(policy->block, command->name))
        return "the command is blocked";
    if (policy->read_only && (command->flags & COMMAND_CHANGES))
        return "the agent is read-only";
    return NULL;
}

bool agent_knows(const char *list, struct ob_fault *fault)
{
    char name[128];
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        snprintf(name, sizeof(name), "%.*s", (int)len, at);
        if (!command_find(name)) {
            ob_fault_set(fault, -EINVAL,
                         "got '%.100s', expected a command of the agent; guest-info lists them",
                         name);
            return false;
        }
        at += len;
        if (*at == '\0')
            return true;
    }
}

struct info {
    const struct agent *agent;
    struct json_out *out;
};

static void put_command(void *argument, const struct command *command)
{
    struct info *info = argument;
    json_out_begin(info->out, '{');
    json_out_member_bool(info->out, "enabled", !refusal(info->agent, command));
    json_out_member_string(info->out, "name", command->name);
    json_out_member_bool(info->out, "success-response", !(command->flags & COMMAND_SILENT));
    json_out_end(info->out, '}');
}

/* guest-info: it alone needs the agent. */
static void tell_info(struct agent *agent, struct call *call)
{
    struct json_out out;
    struct info info = {agent, &out};
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "version", OUTBOARD_VERSION);
    json_out_name(&out, "supported_commands");
    json_out_begin(&out, '[');
    command_each(put_command, &info);
    json_out_end(&out, ']');
    json_out_end(&out, '}');
    if (json_out_done(&out) < 0)
        call_fail(call, "out of memory");
    else
        call_return(call, out.bytes, out.len);
    json_out_free(&out);
}

static void run_here(const struct command *command, struct call *call)
{
    struct job job = {.arguments = call->arguments};
    json_out_init(&job.out, LIMIT_AGENT_ANSWER);
    int err = command->run(&job);
    if (err == 0 && json_out_done(&job.out) < 0)
        err = job_fail(&job, "out of memory");
    if (err < 0)
        call_fail_text(call, CALL_GENERIC, job.error, strlen(job.error));
    else
        call_return(call, job.out.bytes, job.out.len);
    json_out_free(&job.out);
}

static void start(struct agent *agent, struct call *call)
{
    const struct command *command = call->command;
    if (command->flags & COMMAND_CHANGES)
        log_line("%s by %s", command->name, call->caller);
    if (command->start)
        command->start(agent, call);
    else if (!command->run)
        tell_info(agent, call);
    else if (command->limit_s > 0)
        worker_run(&agent->config, command->run, command->limit_s, call);
    else
        run_here(command, call);
}

/* Checks the members of a request. NULL: they are right; else the error. */
static const char *check_request(const struct json *request, char ret_text[CALL_TEXT_MAX])
{
    if (request->type != JSON_OBJECT)
        return "QMP input must be a JSON object";
    for (const struct json *member = request->first; member; member = member->next) {
        size_t i = 0;
        while (i < sizeof(members) / sizeof(members[0]) &&
               strcmp(members[i], member->name.bytes) != 0)
            i++;
        if (i < sizeof(members) / sizeof(members[0]))
            continue;
        snprintf(ret_text, CALL_TEXT_MAX, "QMP input member '%.200s' is unexpected",
                 member->name.bytes);
        return ret_text;
    }
    const struct json *name = json_member(request, "execute");
    const struct json *arguments = json_member(request, "arguments");
    if (!name)
        return "QMP input lacks member 'execute'";
    if (name->type != JSON_STRING)
        return "QMP input member 'execute' must be a string";
    if (arguments && arguments->type != JSON_OBJECT)
        return "QMP input member 'arguments' must be an object";
    return NULL;
}

static void fail(struct call *call, const char *class, const char *text)
{
    call_fail_text(call, class, text, strlen(text));
}

void dispatch(struct agent *agent, struct call *call)
{
    const struct json *request = json_root(call->request);
    char text[CALL_TEXT_MAX];
    const char *wrong = check_request(request, text);
    if (wrong) {
        fail(call, CALL_GENERIC, wrong);
        return;
    }
    const char *name = json_member(request, "execute")->text.bytes;
    call->command = command_find(name);
    call->arguments = json_member(request, "arguments");
    if (!call->command) {
        snprintf(text, sizeof(text), "The command %.200s has not been found", name);
        fail(call, CALL_NOT_FOUND, text);
        return;
    }
    const char *why = refusal(agent, call->command);
    if (!why && freezer_is_frozen(agent->freezer) && !(call->command->flags & COMMAND_WHILE_FROZEN))
        why = "the agent is in frozen state";
    if (why) {
        snprintf(text, sizeof(text), "Command %s has been disabled: %s", name, why);
        fail(call, CALL_NOT_FOUND, text);
        return;
    }
    wrong = command_check(call->command, call->arguments, text);
    if (wrong)
        fail(call, CALL_GENERIC, wrong);
    else
        start(agent, call);
}
