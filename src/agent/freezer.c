// SPDX-License-Identifier: BSD-3-Clause
/*
 * A freeze is held by a worker (freeze_worker.c): it freezes, says how many file systems it has
 * frozen, and then waits, with nothing of ours to write, for the word to thaw, for the end of the
 * agent or for the end of the time. So a freeze ends with the agent, even if that is killed; and if
 * both are, a note in the state folder has the next agent thaw everything.
 *
 * A freeze that does not come to its end in time is given up: another worker thaws all
 * file systems, and the first one thaws as soon as its call returns.
 *
 * A freeze that ended by itself stays in memory until the next one: each thaw until then is an
 * error, because a copy that was made meanwhile may be inconsistent.
 */
#include "agent/freezer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/freeze_worker.h"
#include "agent/internal.h"
#include "agent/worker.h"
#include "base/auto.h"
#include "base/limits.h"
#include "os/log.h"

enum freezer_state {
    THAWED,
    FREEZING, /* call: guest-fsfreeze-freeze */
    FROZEN,
    THAWING, /* call: guest-fsfreeze-thaw, or NULL */
};

struct freezer {
    const struct agent_config *config;
    enum freezer_state state;
    struct worker *worker; /* NULL: thawed */
    struct call *call;
    bool is_held;               /* the worker has said that all are frozen */
    unsigned limit_s;           /* within which they must be */
    unsigned timeout_s;         /* of the freeze; 0: it has no end of its own */
    char note[FREEZE_NOTE_MAX]; /* path of the note for a successor */
    char ended[200];            /* why the last freeze ended by itself; empty: it did not */
};

static void become(struct freezer *freezer, enum freezer_state state)
{
    bool was_held = freezer->state != THAWED, holds = state != THAWED;
    freezer->state = state;
    log_hold(holds);
    if (freezer->config->hold_log && holds != was_held)
        freezer->config->hold_log(freezer->config->argument, holds);
}

bool freezer_is_frozen(const struct freezer *freezer)
{
    return freezer->state != THAWED;
}

/* Frees the worker, which has said its last word or never will. */
static void forget_worker(struct freezer *freezer)
{
    worker_release(take_ptr(&freezer->worker));
    become(freezer, THAWED);
}

static void end_by_itself(struct freezer *freezer, const char *why)
{
    snprintf(freezer->ended, sizeof(freezer->ended), "%s", why);
}

/* The worker has thawed by itself. */
static void on_own_end(struct freezer *freezer, const char *why)
{
    end_by_itself(freezer, why);
    forget_worker(freezer);
    log_line("file systems are thawed: %s", why);
}

static void fail_thaw(struct freezer *freezer, struct call *call)
{
    call_fail(call,
              "the file systems were thawed before: %s; a copy made meanwhile may be "
              "inconsistent",
              freezer->ended);
}

/* The worker is stuck in the kernel. Another one thaws, and this one thaws when its call returns. */
static void give_up(struct freezer *freezer)
{
    struct call *call = take_ptr(&freezer->call);
    bool was_freezing = freezer->state == FREEZING;
    end_by_itself(freezer, "a file system did not answer in time");
    forget_worker(freezer);
    freeze_thaw_all(freezer->config, freezer->note);
    log_line("freeze: a file system has not answered within %u s; thawing", freezer->limit_s);
    if (call && was_freezing)
        call_fail(call, "a file system has not frozen within %u s", freezer->limit_s);
    else if (call)
        fail_thaw(freezer, call);
}

static void on_gone(struct freezer *freezer)
{
    struct call *call = take_ptr(&freezer->call);
    end_by_itself(freezer, "the process that held them has ended");
    forget_worker(freezer);
    freeze_thaw_all(freezer->config, freezer->note);
    log_line("file systems are thawed: %s", freezer->ended);
    if (call)
        call_fail(call, "the process that held the file systems has ended");
}

/* The worker thaws by itself after the freeze's time. If its hook or a file system hangs then, it does not
 * say so. */
static void begin_hold(struct freezer *freezer)
{
    become(freezer, FROZEN);
    if (freezer->timeout_s > 0)
        worker_expect(freezer->worker, freezer->timeout_s + LIMIT_AGENT_FREEZE_S);
}

static void on_answer(struct freezer *freezer, bool failed, const char *text, size_t len)
{
    bool is_of_freeze = !failed && !freezer->is_held;
    freezer->is_held = true;
    if (is_of_freeze && freezer->state == THAWING) {
        worker_expect(freezer->worker, LIMIT_AGENT_FREEZE_S);
        return; /* the thaw was asked for meanwhile, and its answer follows */
    }
    struct call *call = take_ptr(&freezer->call);
    if (is_of_freeze)
        begin_hold(freezer);
    else
        forget_worker(freezer);
    if (!call)
        return;
    if (failed)
        call_fail_text(call, QMP_GENERIC, text, len);
    else
        call_return(call, text, len);
}

static void on_word(void *argument, enum worker_word word, const char *text, size_t len)
{
    struct freezer *freezer = argument;
    char why[200];
    if (word == WORKER_LATE) {
        give_up(freezer);
    } else if (word == WORKER_GONE) {
        on_gone(freezer);
    } else if (word == WORKER_NOTES) {
        snprintf(why, sizeof(why), "%.*s", (int)len, text);
        struct call *call = take_ptr(&freezer->call);
        on_own_end(freezer, why);
        if (call)
            fail_thaw(freezer, call);
    } else {
        on_answer(freezer, word == WORKER_FAILS, text, len);
    }
}

static void start_freeze(struct agent *agent, struct call *call)
{
    struct freezer *freezer = agent->freezer;
    int64_t timeout_s = job_int(call->arguments, "timeout", 0);
    if (timeout_s < 0 || timeout_s > LIMIT_AGENT_FREEZE_FOR_S) {
        call_fail(call, "timeout: got %" PRId64 ", expected 1 to %u seconds", timeout_s,
                  LIMIT_AGENT_FREEZE_FOR_S);
        return;
    }
    const struct freeze_order order = {
        .places = job_strings(call->arguments, "mountpoints"),
        .is_list = json_member(call->arguments, "mountpoints"),
        .timeout_s = (unsigned)timeout_s,
        .hook = freezer->config->freeze_hook,
        .note = freezer->note,
    };
    become(freezer, FREEZING); /* who logs stops before a file system does */
    int err =
        worker_start(freezer->config, freeze_work, &order, on_word, freezer, &freezer->worker);
    if (err < 0) {
        become(freezer, THAWED);
        call_fail(call, "can't start a process: %s", strerror(-err));
        return;
    }
    freezer->ended[0] = '\0';
    freezer->is_held = false;
    freezer->timeout_s = order.timeout_s;
    freezer->limit_s = timeout_s > 0 && timeout_s < LIMIT_AGENT_FREEZE_S ? (unsigned)timeout_s
                                                                         : LIMIT_AGENT_FREEZE_S;
    freezer->call = call;
    worker_expect(freezer->worker, freezer->limit_s);
}

static void start_thaw(struct agent *agent, struct call *call)
{
    struct freezer *freezer = agent->freezer;
    if (freezer->state == THAWED && freezer->ended[0])
        fail_thaw(freezer, call);
    else if (freezer->state == THAWED)
        call_return(call, "0", 1);
    else if (freezer->state == THAWING)
        call_fail(call, "the file systems are being thawed already");
    else {
        if (freezer->call) /* a freeze that is under way */
            call_fail(freezer->call, "the file systems were thawed before all were frozen");
        freezer->call = call;
        become(freezer, THAWING);
        if (worker_ask(freezer->worker, "", 0, LIMIT_AGENT_FREEZE_S) < 0)
            on_gone(freezer);
    }
}

static void start_status(struct agent *agent, struct call *call)
{
    if (freezer_is_frozen(agent->freezer))
        call_return(call, "\"frozen\"", strlen("\"frozen\""));
    else
        call_return(call, "\"thawed\"", strlen("\"thawed\""));
}

int freezer_new(const struct agent_config *config, struct freezer **ret_freezer)
{
    struct freezer *freezer = calloc(1, sizeof(*freezer));
    if (!freezer)
        return -ENOMEM;
    freezer->config = config;
    snprintf(freezer->note, sizeof(freezer->note), "%s/outboard-agent.frozen",
             config->state_dir ? config->state_dir : "/run");
    if (access(freezer->note, F_OK) == 0) {
        log_line("an agent before this one left file systems frozen: thawing");
        freeze_thaw_all(config, freezer->note);
        end_by_itself(freezer, "the agent was restarted");
    }
    *ret_freezer = freezer;
    return 0;
}

void freezer_free(struct freezer *freezer)
{
    if (!freezer)
        return;
    worker_release(freezer->worker);
    become(freezer, THAWED);
    free(freezer);
}

static const struct argument freeze_arguments[] = {{"timeout", ARGUMENT_INT, true}, {0}};
static const struct argument list_arguments[] = {
    {"mountpoints", ARGUMENT_STRINGS, true}, {"timeout", ARGUMENT_INT, true}, {0}};

const struct command commands_freeze[] = {
    {.name = "guest-fsfreeze-freeze", .arguments = freeze_arguments, .start = start_freeze},
    {.name = "guest-fsfreeze-freeze-list", .arguments = list_arguments, .start = start_freeze},
    {.name = "guest-fsfreeze-status", .flags = COMMAND_WHILE_FROZEN, .start = start_status},
    {.name = "guest-fsfreeze-thaw", .flags = COMMAND_WHILE_FROZEN, .start = start_thaw},
    {0}};
