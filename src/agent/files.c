// SPDX-License-Identifier: BSD-3-Clause
/*
 * Each file is open in a worker of its own, which carries out one request after the other
 * (file_worker.c): a file system that hangs holds up nobody else. A request that takes too long
 * ends the worker and with it the handle.
 *
 * Handles are the agent's, not a client's: a client may connect for each command. When there are
 * LIMIT_AGENT_FILES, the one that was not used for the longest time is closed for the next.
 */
#include "agent/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/command.h"
#include "agent/file_worker.h"
#include "agent/internal.h"
#include "agent/worker.h"
#include "base/limits.h"
#include "base/list.h"

struct file {
    struct files *files;
    struct list link; /* the one used last is the last */
    int64_t handle;
    struct worker *worker;
    struct call *call; /* that the worker carries out; NULL: the worker is idle */
    bool is_open;      /* its handle was told */
    bool closes;       /* the call is guest-file-close */
};

struct files {
    const struct agent_config *config;
    struct list list;
    unsigned count;
    int64_t next_handle;
};

int files_new(const struct agent_config *config, struct files **ret_files)
{
    uint32_t first = 0;
    struct files *files = calloc(1, sizeof(*files));
    if (!files)
        return -ENOMEM;
    files->config = config;
    list_init(&files->list);
    /* A handle of an earlier agent must not be one of ours. */
    if (getrandom(&first, sizeof(first), 0) < 0)
        first = 0;
    files->next_handle = 1000 + (int64_t)first;
    *ret_files = files;
    return 0;
}

static void drop(struct file *file)
{
    worker_free(file->worker);
    list_remove(&file->link);
    file->files->count--;
    free(file);
}

void files_free(struct files *files)
{
    if (!files)
        return;
    while (!list_empty(&files->list)) {
        struct file *file = list_entry(files->list.next, struct file, link);
        if (file->call)
            call_fail(file->call, "the agent ends");
        drop(file);
    }
    free(files);
}

/* The worker has opened the file. */
static void tell_handle(struct file *file, struct call *call)
{
    char text[32];
    if (!call_is_wanted(call)) { /* nobody would ever close it */
        call_return(call, "", 0);
        drop(file);
        return;
    }
    file->is_open = true;
    snprintf(text, sizeof(text), "%" PRId64, file->handle);
    call_return(call, text, strlen(text));
}

static void on_word(void *argument, enum worker_word word, const char *text, size_t len)
{
    struct file *file = argument;
    struct call *call = file->call;
    file->call = NULL;
    if (word == WORKER_RETURNS && !file->is_open) {
        tell_handle(file, call);
    } else if (word == WORKER_RETURNS) {
        bool closes = file->closes;
        if (closes)
            drop(file);
        call_return(call, text, len);
    } else if (word == WORKER_FAILS) {
        if (!file->is_open || file->closes)
            drop(file);
        call_fail_text(call, QMP_GENERIC, text, len);
    } else {
        drop(file);
        if (call && word == WORKER_LATE)
            call_fail(call, "the file was not accessible within %u s; it is closed",
                      LIMIT_AGENT_FILE_S);
        else if (call)
            call_fail(call, "the process that held the file has ended");
    }
}

static struct file *find(const struct files *files, int64_t handle)
{
    for (struct list *link = files->list.next; link != &files->list; link = link->next) {
        struct file *file = list_entry(link, struct file, link);
        if (file->handle == handle && file->is_open)
            return file;
    }
    return NULL;
}

/* Closes the one that was not used for the longest time. False: all are at work. */
static bool make_room(struct files *files)
{
    for (struct list *link = files->list.next; link != &files->list; link = link->next) {
        struct file *file = list_entry(link, struct file, link);
        if (files->count < LIMIT_AGENT_FILES)
            return true;
        if (!file->call) {
            drop(file);
            return true;
        }
    }
    return files->count < LIMIT_AGENT_FILES;
}

static void start_open(struct agent *agent, struct call *call)
{
    struct files *files = agent->files;
    if (!make_room(files)) {
        call_fail(call, "%u files are open and at work already", LIMIT_AGENT_FILES);
        return;
    }
    struct file *file = calloc(1, sizeof(*file));
    if (!file) {
        call_fail(call, "out of memory");
        return;
    }
    *file = (struct file){.files = files, .handle = files->next_handle++, .call = call};
    int err =
        worker_start(&agent->config, file_work, call->arguments, on_word, file, &file->worker);
    if (err < 0) {
        free(file);
        call_fail(call, "can't start a process: %s", strerror(-err));
        return;
    }
    list_init(&file->link);
    list_append(&files->list, &file->link);
    files->count++;
    worker_expect(file->worker, LIMIT_AGENT_FILE_S);
}

/* Hands the request to the file's worker, as it came. */
static void pass_on(struct agent *agent, struct call *call)
{
    struct file *file = find(agent->files, job_int(call->arguments, "handle", 0));
    if (!file) {
        call_fail(call, "handle '%" PRId64 "' has not been found",
                  job_int(call->arguments, "handle", 0));
        return;
    }
    if (file->call) {
        call_fail(call, "another request uses the file; wait for its answer");
        return;
    }
    struct json_out out;
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    json_out_value(&out, json_root(call->request));
    file->call = call;
    file->closes = strcmp(call->command->name, "guest-file-close") == 0;
    list_remove(&file->link);
    list_append(&agent->files->list, &file->link);
    if (json_out_done(&out) < 0 ||
        worker_ask(file->worker, out.bytes, out.len, LIMIT_AGENT_FILE_S) < 0) {
        file->call = NULL;
        call_fail(call, "out of memory");
    }
    json_out_free(&out);
}

static const struct argument open_arguments[] = {
    {"path", ARGUMENT_STRING, false}, {"mode", ARGUMENT_STRING, true}, {0}};
static const struct argument handle_arguments[] = {{"handle", ARGUMENT_INT, false}, {0}};
static const struct argument read_arguments[] = {
    {"handle", ARGUMENT_INT, false}, {"count", ARGUMENT_INT, true}, {0}};
static const struct argument write_arguments[] = {{"handle", ARGUMENT_INT, false},
                                                  {"buf-b64", ARGUMENT_STRING, false},
                                                  {"count", ARGUMENT_INT, true},
                                                  {0}};
static const struct argument seek_arguments[] = {{"handle", ARGUMENT_INT, false},
                                                 {"offset", ARGUMENT_INT, false},
                                                 {"whence", ARGUMENT_ANY, false},
                                                 {0}};
static const struct argument getfile_arguments[] = {{"path", ARGUMENT_STRING, false},
                                                    {"offset", ARGUMENT_INT, true},
                                                    {"count", ARGUMENT_INT, true},
                                                    {0}};

const struct command commands_file[] = {
    {.name = "guest-file-open", .arguments = open_arguments, .start = start_open},
    {.name = "guest-file-close", .arguments = handle_arguments, .start = pass_on},
    {.name = "guest-file-read", .arguments = read_arguments, .start = pass_on},
    {.name = "guest-file-write", .arguments = write_arguments, .start = pass_on},
    {.name = "guest-file-seek", .arguments = seek_arguments, .start = pass_on},
    {.name = "guest-file-flush", .arguments = handle_arguments, .start = pass_on},
    {.name = "guest-get-file",
     .arguments = getfile_arguments,
     .limit_s = LIMIT_AGENT_FILE_S,
     .run = file_get},
    {0}};
