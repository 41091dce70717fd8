// SPDX-License-Identifier: BSD-3-Clause
/*
 * guest-exec starts a program and answers with its process id; guest-exec-status tells its
 * state and, once it has ended, forgets it. Any client may ask.
 *
 * Output that is written after the end of the program is lost; a process that it leaves behind can't
 * delay its status.
 */
#include "agent/execs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/internal.h"
#include "base/auto.h"
#include "base/limits.h"
#include "base/list.h"
#include "os/clock.h"
#include "wire/base64.h"

#define READ_LEN 65536
#define NS_PER_S 1000000000u

/* One output of a program. */
struct capture {
    struct exec *exec;
    int fd; /* -1: it has ended, or is not captured */
    struct loop_source *source;
    char *bytes;
    size_t len, size;
    bool wanted;
    bool truncated;
};

struct exec {
    struct execs *execs;
    struct list link;
    pid_t pid;
    struct child *child; /* NULL: it ended */
    int status;
    struct capture out, err;
    struct call *call; /* guest-exec, until the program runs; NULL: it does */
    int failure;       /* tells of that; -1: it has */
    struct loop_source *failure_source;
    struct timer limit; /* of it */
    int in;             /* -1: nothing is left to be written */
    struct loop_source *in_source;
    char *input;
    size_t input_at, input_len;
};

struct execs {
    const struct agent_config *config;
    struct list list; /* the oldest first */
    unsigned count;
    size_t kept; /* bytes of all outputs */
};

int execs_new(const struct agent_config *config, struct execs **ret_execs)
{
    struct execs *execs = calloc(1, sizeof(*execs));
    if (!execs)
        return -ENOMEM;
    execs->config = config;
    list_init(&execs->list);
    *ret_execs = execs;
    return 0;
}

static void close_watched(int *fd, struct loop_source **source)
{
    loop_remove(take_ptr(source));
    if (*fd >= 0)
        close(take_fd(fd));
}

static void drop(struct exec *exec)
{
    struct execs *execs = exec->execs;
    close_watched(&exec->out.fd, &exec->out.source);
    close_watched(&exec->err.fd, &exec->err.source);
    close_watched(&exec->in, &exec->in_source);
    close_watched(&exec->failure, &exec->failure_source);
    timer_cancel(&exec->limit);
    child_forget(exec->child);
    execs->kept -= exec->out.len + exec->err.len;
    execs->count--;
    list_remove(&exec->link);
    free(exec->out.bytes);
    free(exec->err.bytes);
    free(exec->input);
    free(exec);
}

void execs_free(struct execs *execs)
{
    if (!execs)
        return;
    while (!list_empty(&execs->list)) {
        struct exec *exec = list_entry(execs->list.next, struct exec, link);
        if (exec->call)
            call_fail(exec->call, "the agent ends");
        drop(exec);
    }
    free(execs);
}

static bool forget(struct capture *capture)
{
    if (capture->len == 0)
        return false;
    capture->exec->execs->kept -= capture->len;
    capture->len = capture->size = 0;
    capture->truncated = true;
    free(take_ptr(&capture->bytes));
    return true;
}

/* Of the oldest program that has ended: perhaps nobody will ever ask for it, and one that runs would have
 * no room for ever. False: none has any. */
static bool forget_an_output(struct execs *execs)
{
    for (struct list *link = execs->list.next; link != &execs->list; link = link->next) {
        struct exec *exec = list_entry(link, struct exec, link);
        if (!exec->child && (forget(&exec->out) || forget(&exec->err)))
            return true;
    }
    return false;
}

static void keep(struct capture *capture, const char *bytes, size_t len)
{
    struct execs *execs = capture->exec->execs;
    size_t room = LIMIT_AGENT_EXEC_OUTPUT - capture->len;
    while (len > LIMIT_AGENT_EXEC_TOTAL - execs->kept && room > 0 && forget_an_output(execs))
        ;
    if (room > LIMIT_AGENT_EXEC_TOTAL - execs->kept)
        room = LIMIT_AGENT_EXEC_TOTAL - execs->kept;
    capture->truncated |= len > room;
    if (len > room)
        len = room;
    if (len > capture->size - capture->len) {
        size_t size = 2 * capture->size + READ_LEN;
        char *grown = realloc(capture->bytes, size);
        if (!grown) {
            capture->truncated = true;
            return;
        }
        capture->bytes = grown;
        capture->size = size;
    }
    if (len > 0)
        memcpy(capture->bytes + capture->len, bytes, len);
    capture->len += len;
    execs->kept += len;
}

/* Reads available output. Bytes beyond the limits are dropped, so that the program need not wait. */
static void read_output(struct capture *capture, unsigned rounds)
{
    char bytes[READ_LEN];
    ssize_t got = 1;
    while (capture->fd >= 0 && got > 0 && rounds-- > 0) {
        got = read(capture->fd, bytes, sizeof(bytes));
        if (got > 0)
            keep(capture, bytes, (size_t)got);
        else if (got == 0 || errno != EAGAIN)
            close_watched(&capture->fd, &capture->source);
    }
}

static void on_output(void *argument, uint32_t events)
{
    read_output(argument, 1);
}

static void on_input(void *argument, uint32_t events)
{
    struct exec *exec = argument;
    ssize_t put = write(exec->in, exec->input + exec->input_at, exec->input_len - exec->input_at);
    if (put < 0 && errno == EAGAIN)
        return;
    exec->input_at += put > 0 ? (size_t)put : 0;
    if (put < 0 || exec->input_at == exec->input_len)
        close_watched(&exec->in, &exec->in_source);
}

static void on_exit_status(void *argument, int status)
{
    struct exec *exec = argument;
    exec->status = status;
    read_output(&exec->out, LIMIT_AGENT_EXEC_OUTPUT / READ_LEN);
    read_output(&exec->err, LIMIT_AGENT_EXEC_OUTPUT / READ_LEN);
    exec->child = NULL;
    close_watched(&exec->out.fd, &exec->out.source);
    close_watched(&exec->err.fd, &exec->err.source);
    close_watched(&exec->in, &exec->in_source);
}

/* Our end of a pipe, non-blocking and watched; the other one is *ret_theirs. 0 or an errno. */
static int make_pipe(const struct execs *execs, bool we_read, loop_fn ready, void *argument,
                     int *ret_ours, struct loop_source **ret_source, int *ret_theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = ends[we_read ? 0 : 1];
    *ret_theirs = ends[we_read ? 1 : 0];
    fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
    return loop_add(execs->config->loop, *ret_ours, we_read ? EPOLLIN : EPOLLOUT, ready, argument,
                    ret_source);
}

static int prepare_output(struct exec *exec, struct capture *capture, int *ret_theirs)
{
    capture->exec = exec;
    return capture->wanted ? make_pipe(exec->execs, true, on_output, capture, &capture->fd,
                                       &capture->source, ret_theirs)
                           : 0;
}

/* Strings of an array behind a first one, as execve(2) takes them; NULL: no memory. */
static char **make_vector(const char *first, const struct json *strings)
{
    size_t count = first ? 1 : 0;
    for (const struct json *string = strings; string; string = string->next)
        count++;
    char **vector = calloc(count + 1, sizeof(*vector));
    size_t at = 0;
    if (vector && first)
        vector[at++] = (char *)first;
    for (const struct json *string = strings; vector && string; string = string->next)
        vector[at++] = (char *)string->text.bytes;
    return vector;
}

static void fail_start(struct exec *exec, const char *why)
{
    struct call *call = take_ptr(&exec->call);
    if (exec->child)
        child_signal(exec->child, SIGKILL);
    drop(exec);
    call_fail(call, "Guest agent command failed, error was: can't start: %s", why);
}

static struct exec *find(const struct execs *execs, int64_t pid)
{
    for (struct list *link = execs->list.next; link != &execs->list; link = link->next) {
        struct exec *exec = list_entry(link, struct exec, link);
        if (exec->pid == pid && !exec->call)
            return exec;
    }
    return NULL;
}

/* The kernel has given a program's number to this one: nobody can ask for the former any more. */
static void forget_namesake(struct exec *exec)
{
    struct exec *former = find(exec->execs, exec->pid);
    if (former)
        drop(former);
}

static void tell_pid(struct exec *exec)
{
    char text[32];
    forget_namesake(exec);
    struct call *call = take_ptr(&exec->call);
    close_watched(&exec->failure, &exec->failure_source);
    timer_cancel(&exec->limit);
    snprintf(text, sizeof(text), "{\"pid\": %d}", exec->pid);
    call_return(call, text, strlen(text));
}

/* exec(2) has succeeded, or failed. */
static void on_failure(void *argument, uint32_t events)
{
    struct exec *exec = argument;
    int err = 0;
    ssize_t got = read(exec->failure, &err, sizeof(err));
    if (got == 0)
        tell_pid(exec);
    else if (got == sizeof(err))
        fail_start(exec, strerror(err));
}

static void on_limit(void *argument)
{
    char why[80];
    snprintf(why, sizeof(why), "its file was not accessible within %d s", LIMIT_AGENT_HELPER_S);
    fail_start(argument, why);
}

static int spawn(struct exec *exec, const struct json *arguments, bool merged)
{
    AUTO_FD in = -1;
    AUTO_FD out = -1;
    AUTO_FD err = -1;
    AUTO_FREE char **argv =
        make_vector(job_string(arguments, "path"), job_strings(arguments, "arg"));
    AUTO_FREE char **environment = make_vector(NULL, job_strings(arguments, "env"));
    int result = argv && environment ? 0 : -ENOMEM;
    if (result == 0 && exec->input)
        result = make_pipe(exec->execs, false, on_input, exec, &exec->in, &exec->in_source, &in);
    if (result == 0)
        result = prepare_output(exec, &exec->out, &out);
    if (result == 0)
        result = prepare_output(exec, &exec->err, &err);
    if (result < 0)
        return result;
    const struct child_spec spec = {
        .argv = argv,
        .environment = json_member(arguments, "env") ? environment : NULL,
        .fd = {in, out, merged ? out : err},
    };
    const struct agent_config *config = exec->execs->config;
    result = child_spawn_reported(config->children, &spec, &exec->failure, &exec->child);
    if (result < 0)
        return result;
    child_watch(exec->child, on_exit_status, exec);
    exec->pid = child_pid(exec->child);
    timer_set(config->timers, &exec->limit,
              clock_now_ns() + (uint64_t)LIMIT_AGENT_HELPER_S * NS_PER_S);
    return loop_add(config->loop, exec->failure, EPOLLIN, on_failure, exec, &exec->failure_source);
}

/* Reads capture-output. NULL, or the error. */
static const char *read_capture(const struct json *value, struct exec *exec, bool *ret_merged)
{
    static const struct {
        const char *mode;
        bool out, err, merged;
    } modes[] = {{"none", false, false, false},
                 {"stdout", true, false, false},
                 {"stderr", false, true, false},
                 {"separated", true, true, false},
                 {"merged", true, false, true}};
    *ret_merged = false;
    if (!value)
        return NULL;
    if (value->type == JSON_BOOL) {
        exec->out.wanted = exec->err.wanted = value->boolean;
        return NULL;
    }
    if (value->type != JSON_STRING)
        return "Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput";
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (!json_is_text(value, modes[i].mode))
            continue;
        exec->out.wanted = modes[i].out;
        exec->err.wanted = modes[i].err;
        *ret_merged = modes[i].merged;
        return NULL;
    }
    return "capture-output: expected none, stdout, stderr, separated, merged, true or false";
}

/* 0 or a negative errno. */
static int read_input(const struct json *arguments, struct exec *exec)
{
    const struct json *input = json_member(arguments, "input-data");
    if (!input)
        return 0;
    exec->input = malloc(input->text.len / 4 * 3 + 1);
    if (!exec->input)
        return -ENOMEM;
    ssize_t len = base64_decode(input->text.bytes, input->text.len, exec->input);
    if (len < 0)
        return -EINVAL;
    exec->input_len = (size_t)len;
    return 0;
}

/* Makes room for one more: the oldest that has ended gives way, for nobody has asked. */
static bool make_room(struct execs *execs)
{
    for (struct list *link = execs->list.next; link != &execs->list; link = link->next) {
        struct exec *exec = list_entry(link, struct exec, link);
        if (execs->count < LIMIT_AGENT_EXECS)
            return true;
        if (!exec->child && !exec->call) {
            drop(exec);
            return true;
        }
    }
    return execs->count < LIMIT_AGENT_EXECS;
}

static void start_exec(struct agent *agent, struct call *call)
{
    struct execs *execs = agent->execs;
    bool merged;
    if (!make_room(execs)) {
        call_fail(call, "%u commands run already; wait until one has ended", LIMIT_AGENT_EXECS);
        return;
    }
    struct exec *exec = calloc(1, sizeof(*exec));
    if (!exec) {
        call_fail(call, "out of memory");
        return;
    }
    *exec = (struct exec){
        .execs = execs, .failure = -1, .in = -1, .out = {.fd = -1}, .err = {.fd = -1}};
    list_init(&exec->link);
    timer_init(&exec->limit, on_limit, exec);
    list_append(&execs->list, &exec->link);
    execs->count++;
    const char *wrong = read_capture(json_member(call->arguments, "capture-output"), exec, &merged);
    int err = wrong ? 0 : read_input(call->arguments, exec);
    if (err == -EINVAL)
        wrong = "input-data is no Base64";
    else if (!wrong && err == 0)
        err = spawn(exec, call->arguments, merged);
    if (wrong || err < 0) {
        if (exec->child)
            child_signal(exec->child, SIGKILL);
        drop(exec);
        call_fail(call, "%s%s",
                  wrong ? wrong : "Guest agent command failed, error was: can't start: ",
                  wrong ? "" : strerror(-err));
        return;
    }
    if (exec->input && exec->input_len == 0)
        close_watched(&exec->in, &exec->in_source);
    exec->call = call; /* on_failure() answers */
}

static void put_output(struct json_out *out, const struct capture *capture, const char *data,
                       const char *truncated)
{
    if (capture->len > 0) {
        json_out_name(out, data);
        json_out_base64(out, capture->bytes, capture->len);
    }
    if (capture->len > 0 || capture->truncated)
        json_out_member_bool(out, truncated, capture->truncated);
}

static void put_status(struct json_out *out, const struct exec *exec)
{
    json_out_begin(out, '{');
    json_out_member_bool(out, "exited", !exec->child);
    if (!exec->child) {
        if (WIFSIGNALED(exec->status))
            json_out_member_int(out, "signal", WTERMSIG(exec->status));
        else
            json_out_member_int(out, "exitcode", WEXITSTATUS(exec->status));
        put_output(out, &exec->out, "out-data", "out-truncated");
        put_output(out, &exec->err, "err-data", "err-truncated");
    }
    json_out_end(out, '}');
}

static void start_status(struct agent *agent, struct call *call)
{
    struct exec *exec = find(agent->execs, job_int(call->arguments, "pid", 0));
    if (!exec) {
        call_fail(call, "Invalid parameter 'pid'");
        return;
    }
    struct json_out out;
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    put_status(&out, exec);
    if (json_out_done(&out) < 0) {
        call_fail(call, "out of memory");
    } else {
        if (!exec->child)
            drop(exec);
        call_return(call, out.bytes, out.len);
    }
    json_out_free(&out);
}

static const struct argument exec_arguments[] = {
    {"path", ARGUMENT_STRING, false},       {"arg", ARGUMENT_STRINGS, true},
    {"env", ARGUMENT_STRINGS, true},        {"input-data", ARGUMENT_STRING, true},
    {"capture-output", ARGUMENT_ANY, true}, {0}};

static const struct argument status_arguments[] = {{"pid", ARGUMENT_INT, false}, {0}};

const struct command commands_exec[] = {
    {.name = "guest-exec", .arguments = exec_arguments, .start = start_exec},
    {.name = "guest-exec-status", .arguments = status_arguments, .start = start_status},
    {0}};
