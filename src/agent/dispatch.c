// SPDX-License-Identifier: BSD-3-Clause
#include "agent/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/command.h"
#include "agent/freezer.h"
#include "agent/internal.h"
#include "agent/self.h"
#include "agent/worker.h"
#include "base/limits.h"
#include "os/log.h"
#include "wire/agent_policy.h"
#include "wire/qmp.h"

static void run_here(const struct command *command, struct call *call)
{
    struct job job = {.arguments = call->arguments};
    json_out_init(&job.out, LIMIT_AGENT_ANSWER);
    int err = command->run(&job);
    if (err == 0 && json_out_done(&job.out) < 0)
        err = job_fail(&job, "out of memory");
    if (err < 0)
        call_fail_text(call, QMP_GENERIC, job.error, strlen(job.error));
    else
        call_return(call, job.out.bytes, job.out.len);
    json_out_free(&job.out);
}

static void start(struct agent *agent, struct call *call)
{
    const struct command *command = call->command;
    if (agent_command_changes(command->name))
        log_line("%s by %s", command->name, call->caller);
    if (command->start)
        command->start(agent, call);
    else if (!command->run)
        self_tell(agent, call);
    else if (command->limit_s > 0)
        worker_run(&agent->config, command->run, command->limit_s, call);
    else
        run_here(command, call);
}

static void fail(struct call *call, const char *class, const char *text)
{
    call_fail_text(call, class, text, strlen(text));
}

void dispatch(struct agent *agent, struct call *call)
{
    const struct json *request = json_root(call->request);
    char text[CALL_TEXT_MAX];
    const char *wrong = qmp_check_request(request, text, sizeof(text));
    if (wrong) {
        fail(call, QMP_GENERIC, wrong);
        return;
    }
    const char *name = json_member(request, "execute")->text.bytes;
    call->command = command_find(name);
    call->arguments = json_member(request, "arguments");
    if (!call->command) {
        snprintf(text, sizeof(text), "The command %.200s has not been found", name);
        fail(call, QMP_NOT_FOUND, text);
        return;
    }
    const char *why = agent_policy_refusal(&agent->config.policy, name);
    if (!why && freezer_is_frozen(agent->freezer) && !(call->command->flags & COMMAND_WHILE_FROZEN))
        why = "the agent is in frozen state";
    if (why) {
        snprintf(text, sizeof(text), "Command %s has been disabled: %s", name, why);
        fail(call, QMP_NOT_FOUND, text);
        return;
    }
    wrong = command_check(call->command, call->arguments, text);
    if (wrong)
        fail(call, QMP_GENERIC, wrong);
    else
        start(agent, call);
}
