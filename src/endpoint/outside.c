// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/outside.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/shared_memory.h"
#include "os/socket.h"

/* An answer, with its descriptors. */
struct message {
    struct list link;
    struct outside_answer answer;
    struct received_fds fds;
};

/* A command that runs outside. */
struct job {
    struct list link;
    struct outside *outside;
    uint32_t id;
    struct child *child;
};

struct outside {
    struct timers *timers;
    struct children *children;
    int fd; /* -1: the process has gone */
    struct loop_source *source;
    uint8_t *arguments; /* of the command that is being started; LIMIT_RUN_ARGUMENTS bytes */
    int arguments_fd;   /* made once, as a cell makes no memory that is shared */
    struct list calls, jobs;
    struct list early;  /* messages that came while an answer was waited for */
    struct timer due;   /* of these */
    struct timer later; /* says from the loop that the process has gone */
    uint32_t last_id;
    void (*gone)(void *argument);
    void *argument;
};

static void close_fds(struct received_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++)
        auto_close(&fds->fd[i]);
    fds->count = 0;
}

static void lose(struct outside *outside)
{
    if (outside->fd < 0)
        return;
    loop_remove(take_ptr(&outside->source));
    close(take_fd(&outside->fd));
    timer_set(outside->timers, &outside->later, clock_now_ns());
}

static void on_gone(void *argument)
{
    struct outside *outside = argument;
    outside->gone(outside->argument);
}

/* One message. 0, -EAGAIN when none is there, or -ENOTCONN once the process has gone. A message
 * whose descriptors find no room has lost them. */
static int receive(struct outside *outside, struct message *ret_message)
{
    if (outside->fd < 0)
        return -ENOTCONN;
    struct outside_answer *answer = &ret_message->answer;
    *answer = (struct outside_answer){0};
    ssize_t len = socket_receive(outside->fd, answer, sizeof(*answer), &ret_message->fds);
    if (len == -EPROTO && answer->id && !answer->exited) {
        ret_message->fds.count = 0;
        answer->result = -EMFILE;
        return 0;
    }
    if (len == sizeof(*answer))
        return 0;
    if (len == -EAGAIN)
        return -EAGAIN;
    close_fds(&ret_message->fds);
    lose(outside);
    return -ENOTCONN;
}

static int result_of(struct message *message)
{
    int result = message->answer.result;
    if (result >= 0 && message->fds.count > 0)
        result = take_fd(&message->fds.fd[0]);
    else if (result >= 0)
        result = -EPROTO;
    close_fds(&message->fds);
    return result;
}

static void tell_exit(struct outside *outside, const struct outside_answer *answer)
{
    for (struct list *link = outside->jobs.next; link != &outside->jobs; link = link->next) {
        struct job *job = list_entry(link, struct job, link);
        if (job->id != answer->id)
            continue;
        list_remove(&job->link);
        child_ended(job->child, answer->result);
        free(job);
        return;
    }
}

/* Tells its owner. */
static void hand_out(struct outside *outside, struct message *message)
{
    if (message->answer.exited) {
        close_fds(&message->fds);
        tell_exit(outside, &message->answer);
        return;
    }
    for (struct list *link = outside->calls.next; link != &outside->calls; link = link->next) {
        struct outside_call *call = list_entry(link, struct outside_call, link);
        if (call->id != message->answer.id)
            continue;
        list_remove(&call->link);
        call->id = 0;
        call->answered(call->argument, result_of(message));
        return;
    }
    for (unsigned i = 0; i < message->fds.count; i++) /* it was cancelled meanwhile */
        socket_close_abruptly(message->fds.fd[i]);
    message->fds.count = 0;
}

static void hand_out_early(void *argument)
{
    struct outside *outside = argument;
    while (!list_empty(&outside->early)) {
        struct message *message = list_entry(list_take(&outside->early), struct message, link);
        hand_out(outside, message);
        free(message);
    }
}

static void on_message(void *argument, uint32_t events)
{
    struct outside *outside = argument;
    struct message message;
    hand_out_early(outside);
    if (receive(outside, &message) == 0)
        hand_out(outside, &message);
}

int outside_new(struct loop *loop, struct timers *timers, struct children *children, int fd,
                void (*gone)(void *argument), void *argument, struct outside **ret_outside)
{
    struct outside *outside = malloc(sizeof(*outside));
    if (!outside) {
        close(fd);
        return -ENOMEM;
    }
    *outside = (struct outside){.timers = timers,
                                .children = children,
                                .fd = fd,
                                .arguments_fd = -1,
                                .gone = gone,
                                .argument = argument};
    list_init(&outside->calls);
    list_init(&outside->jobs);
    list_init(&outside->early);
    timer_init(&outside->due, hand_out_early, outside);
    timer_init(&outside->later, on_gone, outside);
    int err = shared_memory_new("outboard-arguments", LIMIT_RUN_ARGUMENTS, &outside->arguments,
                                &outside->arguments_fd);
    if (err == 0)
        err = loop_add(loop, fd, EPOLLIN, on_message, outside, &outside->source);
    if (err < 0)
        outside_free(outside);
    else
        *ret_outside = outside;
    return err;
}

/* Reads until the other end is closed. */
static void wait_for_end(struct outside *outside)
{
    struct message message;
    shutdown(outside->fd, SHUT_WR);
    while (outside->fd >= 0) {
        int err = receive(outside, &message);
        if (err == 0)
            close_fds(&message.fds);
        else if (err == -EAGAIN)
            socket_wait(outside->fd, POLLIN, UINT64_MAX);
    }
}

void outside_free(struct outside *outside)
{
    if (!outside)
        return;
    if (outside->fd >= 0)
        wait_for_end(outside);
    timer_cancel(&outside->due);
    timer_cancel(&outside->later);
    while (!list_empty(&outside->early)) {
        struct message *message = list_entry(list_take(&outside->early), struct message, link);
        close_fds(&message->fds);
        free(message);
    }
    while (!list_empty(&outside->jobs))
        free(list_entry(list_take(&outside->jobs), struct job, link));
    if (outside->arguments)
        shared_memory_free(outside->arguments, LIMIT_RUN_ARGUMENTS, outside->arguments_fd);
    free(outside);
}

/* 0 or a negative errno. */
static int send_request(struct outside *outside, struct outside_request *request, int fd)
{
    for (;;) {
        ssize_t sent =
            outside->fd < 0 ? -ENOTCONN : socket_send(outside->fd, request, sizeof(*request), fd);
        if (sent == sizeof(*request))
            return 0;
        if (sent != -EAGAIN) {
            lose(outside);
            return -ENOTCONN;
        }
        socket_wait(outside->fd, POLLOUT, UINT64_MAX);
    }
}

static uint32_t next_id(struct outside *outside)
{
    if (++outside->last_id == 0)
        outside->last_id = 1;
    return outside->last_id;
}

/* Keeps a message for the loop. */
static int keep(struct outside *outside, struct message *message)
{
    struct message *kept = malloc(sizeof(*kept));
    if (!kept) { /* a dial that is never answered times out */
        close_fds(&message->fds);
        return -ENOMEM;
    }
    *kept = *message;
    list_init(&kept->link);
    list_append(&outside->early, &kept->link);
    timer_set(outside->timers, &outside->due, clock_now_ns());
    return 0;
}

/* Sends a request and waits for its answer. 0 or a negative errno. */
static int ask(struct outside *outside, struct outside_request *request, int fd,
               struct message *ret_answer)
{
    int err = send_request(outside, request, fd);
    while (err == 0) {
        err = receive(outside, ret_answer);
        if (err == -EAGAIN) {
            socket_wait(outside->fd, POLLIN, UINT64_MAX);
            err = 0;
        } else if (err == 0 && ret_answer->answer.id == request->id && !ret_answer->answer.exited) {
            return ret_answer->answer.result < 0 ? ret_answer->answer.result : 0;
        } else if (err == 0) {
            err = keep(outside, ret_answer);
        }
    }
    return err;
}

/* The one descriptor of an answer, or a negative errno. */
static int ask_for_one(struct outside *outside, struct outside_request *request)
{
    struct message answer;
    int err = ask(outside, request, -1, &answer);
    return err < 0 ? err : result_of(&answer);
}

int outside_dial(struct outside *outside, const struct address *address, bool by_rules,
                 struct outside_call *call)
{
    struct outside_request request = {
        .verb = OUTSIDE_DIAL, .id = next_id(outside), .by_rules = by_rules};
    address_format(address, request.text);
    int err = send_request(outside, &request, -1);
    if (err < 0)
        return err;
    call->id = request.id;
    list_init(&call->link);
    list_append(&outside->calls, &call->link);
    return 0;
}

void outside_cancel(struct outside *outside, struct outside_call *call)
{
    struct outside_request request = {.verb = OUTSIDE_CANCEL, .id = call->id};
    if (call->id == 0)
        return;
    list_remove(&call->link);
    call->id = 0;
    send_request(outside, &request, -1);
}

int outside_listen(struct outside *outside, const struct address *address, uint32_t *ret_id)
{
    struct outside_request request = {.verb = OUTSIDE_LISTEN, .id = next_id(outside)};
    address_format(address, request.text);
    int fd = ask_for_one(outside, &request);
    if (fd >= 0)
        *ret_id = request.id;
    return fd;
}

void outside_unlisten(struct outside *outside, uint32_t id)
{
    struct outside_request request = {.verb = OUTSIDE_UNLISTEN, .id = id};
    send_request(outside, &request, -1);
}

int outside_open(struct outside *outside, enum outside_verb verb)
{
    struct outside_request request = {.verb = verb, .id = next_id(outside)};
    return ask_for_one(outside, &request);
}

int outside_user(struct outside *outside, int fd, uid_t *ret_user)
{
    struct outside_request request = {.verb = OUTSIDE_USER, .id = next_id(outside)};
    struct message answer;
    int err = ask(outside, &request, fd, &answer);
    if (err < 0)
        return err;
    close_fds(&answer.fds);
    *ret_user = answer.answer.user;
    return 0;
}

static void on_signal(void *argument, int number)
{
    struct job *job = argument;
    struct outside_request request = {.verb = OUTSIDE_SIGNAL, .id = job->id, .number = number};
    send_request(job->outside, &request, -1);
}

/* The arguments, each ended by a NUL. Their bytes or a negative errno. */
static int put_arguments(struct outside *outside, char *const *argv)
{
    size_t used = 0;
    for (; argv && *argv; argv++) {
        size_t len = strlen(*argv) + 1;
        if (len > LIMIT_RUN_ARGUMENTS - used)
            return -E2BIG;
        memcpy(outside->arguments + used, *argv, len);
        used += len;
    }
    return (int)used;
}

static void take_pipes(struct message *answer, bool joined, struct command_pipes *ret_pipes)
{
    struct command_pipes pipes = {-1, -1, -1};
    pipes.in = take_fd(&answer->fds.fd[0]);
    if (!joined && answer->fds.count == OUTSIDE_FDS_MAX) {
        pipes.out = take_fd(&answer->fds.fd[1]);
        pipes.err = take_fd(&answer->fds.fd[2]);
    } else if (!joined) { /* a terminal */
        pipes.out = pipes.in;
    }
    *ret_pipes = pipes;
}

static void describe(const struct command *command, bool joined, struct outside_request *request)
{
    request->rows = command->rows;
    request->columns = command->columns;
    request->declared = command->shell != NULL;
    request->terminal = command->terminal;
    request->joined = joined;
    snprintf(request->text, sizeof(request->text), "%s", command->service ? command->service : "");
    snprintf(request->variable, sizeof(request->variable), "%s",
             command->terminal_type ? command->terminal_type : "");
}

int outside_run(struct outside *outside, const struct command *command, bool joined,
                struct command_pipes *ret_pipes, struct child **ret_child)
{
    struct outside_request request = {.verb = OUTSIDE_RUN, .id = next_id(outside)};
    struct message answer;
    describe(command, joined, &request);
    AUTO_FREE struct job *job = malloc(sizeof(*job));
    if (!job)
        return -ENOMEM;
    *job = (struct job){.outside = outside, .id = request.id};
    request.number = put_arguments(outside, command->shell ? NULL : command->argv);
    if (request.number < 0)
        return request.number; // cppcheck-suppress memleak ; AUTO_FREE
    int err = child_adopt(outside->children, on_signal, job, &job->child);
    if (err < 0)
        return err;
    err = ask(outside, &request, outside->arguments_fd, &answer);
    if (err == 0 && answer.fds.count == 0)
        err = -EPROTO;
    if (err < 0) {
        child_ended(job->child, 0);
        return err;
    }
    take_pipes(&answer, joined, ret_pipes);
    close_fds(&answer.fds);
    list_init(&job->link);
    list_append(&outside->jobs, &job->link);
    *ret_child = job->child;
    take_ptr(&job);
    return 0;
}
