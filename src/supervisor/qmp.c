// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/list.h"
#include "os/clock.h"
#include "os/log.h"
#include "os/socket.h"
#include "wire/json_frame.h"

#define READ_LEN     4096
#define READS_A_TURN 16
#define CONNECT_MS   1000u

struct command {
    struct list link;
    struct qmp *qmp;
    uint64_t id;
    char *text;
    size_t len, sent;
    int fd; /* to be sent; -1: none */
    struct timer patience;
    qmp_answer_fn answer;
    void *argument;
};

struct qmp {
    struct timers *timers;
    int fd; /* -1: the VMM has gone */
    struct loop_source *source;
    struct json_frame frame;
    struct list commands; /* without an answer, in the order in which they are sent */
    uint64_t last_id;
    bool greeted;
    qmp_event_fn event;
    void *argument;
};

static void command_free(struct command *command)
{
    list_remove(&command->link);
    timer_cancel(&command->patience);
    if (command->fd >= 0)
        close(command->fd);
    free(command->text);
    free(command);
}

/* The command is freed before its owner is told. */
static void finish(struct command *command, const struct json *result, const char *error)
{
    qmp_answer_fn answer = command->answer;
    void *argument = command->argument;
    command_free(command);
    if (answer)
        answer(argument, result, error);
}

static void hang_up(struct qmp *qmp)
{
    if (qmp->fd < 0)
        return;
    loop_remove(qmp->source);
    qmp->source = NULL;
    socket_close(qmp->fd);
    qmp->fd = -1;
    while (!list_empty(&qmp->commands))
        finish(list_entry(qmp->commands.next, struct command, link), NULL, "the VMM has gone");
}

/* A command of which nothing was sent can be dropped; the answer of another one may still come, and
 * nobody waits for it then. */
static void on_late(void *argument)
{
    struct command *command = argument;
    qmp_answer_fn answer = command->answer;
    void *owner = command->argument;
    command->answer = NULL;
    if (command->sent == 0)
        command_free(command);
    if (answer)
        answer(owner, NULL, "the VMM has not answered within 10 s");
}

/* Sends commands until the socket takes no more. */
static int transmit(struct qmp *qmp)
{
    for (struct list *link = qmp->commands.next; link != &qmp->commands; link = link->next) {
        struct command *command = list_entry(link, struct command, link);
        while (command->sent < command->len) {
            ssize_t sent = socket_send(qmp->fd, command->text + command->sent,
                                       command->len - command->sent, command->fd);
            if (sent < 0)
                return sent == -EAGAIN ? loop_change(qmp->source, EPOLLIN | EPOLLOUT) : (int)sent;
            command->sent += (size_t)sent;
            if (command->fd >= 0)
                close(command->fd);
            command->fd = -1;
        }
    }
    return loop_change(qmp->source, EPOLLIN);
}

static struct command *find(struct qmp *qmp, const struct json *id)
{
    for (struct list *link = qmp->commands.next; link != &qmp->commands; link = link->next) {
        struct command *command = list_entry(link, struct command, link);
        if (id && id->type == JSON_INT && (uint64_t)id->integer == command->id)
            return command;
    }
    return NULL;
}

static void take_answer(struct qmp *qmp, const struct json *message)
{
    const struct json *result = json_member(message, "return");
    const struct json *error = json_member(message, "error");
    const struct json *text =
        error && error->type == JSON_OBJECT ? json_member(error, "desc") : NULL;
    struct command *command = find(qmp, json_member(message, "id"));
    if (command && result)
        finish(command, result, NULL);
    else if (command)
        finish(command, NULL,
               text && text->type == JSON_STRING ? text->text.bytes : "the VMM gave no reason");
}

static int take_message(struct qmp *qmp, const struct json *message)
{
    if (message->type != JSON_OBJECT)
        return -EPROTO;
    const struct json *event = json_member(message, "event");
    const struct json *data = json_member(message, "data");
    if (json_member(message, "QMP")) {
        qmp->greeted = true;
        return transmit(qmp);
    }
    if (!event)
        take_answer(qmp, message);
    else if (event->type == JSON_STRING)
        qmp->event(qmp->argument, event->text.bytes,
                   data && data->type == JSON_OBJECT ? data : NULL);
    return 0;
}

static int take_bytes(struct qmp *qmp, const char *bytes, size_t len)
{
    int err = 0;
    for (size_t at = 0; at < len && err == 0 && qmp->fd >= 0;) {
        enum json_frame_event event;
        struct json_document *document;
        struct json_fault fault;
        at += json_frame_take(&qmp->frame, bytes + at, len - at, &event);
        if (event == JSON_FRAME_FAULT || qmp->frame.len > LIMIT_QMP_MESSAGE)
            return -EPROTO;
        if (event != JSON_FRAME_VALUE)
            continue;
        err = json_parse(qmp->frame.bytes, qmp->frame.len, &document, &fault);
        if (err < 0)
            return err;
        err = take_message(qmp, json_root(document));
        json_free(document);
    }
    return err;
}

static int receive(struct qmp *qmp)
{
    char bytes[READ_LEN];
    for (int i = 0; i < READS_A_TURN && qmp->fd >= 0; i++) {
        ssize_t len = socket_read(qmp->fd, bytes, sizeof(bytes));
        if (len < 0)
            return errno == EAGAIN ? 0 : -errno;
        int err = len == 0 ? -ENOTCONN : take_bytes(qmp, bytes, (size_t)len);
        if (err < 0)
            return err;
    }
    return 0;
}

static void on_ready(void *argument, uint32_t events)
{
    struct qmp *qmp = argument;
    int err = qmp->greeted ? transmit(qmp) : 0;
    if (err == 0)
        err = receive(qmp);
    if (err == -EPROTO)
        log_line("the VMM broke the rules of QMP; it is not asked any more");
    if (err < 0)
        hang_up(qmp);
}

int qmp_new(struct loop *loop, struct timers *timers, const char *path, qmp_event_fn event,
            void *argument, struct qmp **ret_qmp)
{
    struct qmp *qmp = calloc(1, sizeof(*qmp));
    if (!qmp)
        return -ENOMEM;
    qmp->timers = timers;
    qmp->event = event;
    qmp->argument = argument;
    list_init(&qmp->commands);
    json_frame_init(&qmp->frame);
    qmp->fd = socket_connect(path, CONNECT_MS);
    int err = qmp->fd < 0 ? qmp->fd : fcntl(qmp->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (err == 0)
        err = loop_add(loop, qmp->fd, EPOLLIN, on_ready, qmp, &qmp->source);
    if (err < 0) {
        if (qmp->fd >= 0)
            close(qmp->fd);
        free(qmp);
        return err;
    }
    *ret_qmp = qmp;
    qmp_execute(qmp, "qmp_capabilities", NULL, -1, NULL, NULL);
    return 0;
}

void qmp_free(struct qmp *qmp)
{
    if (!qmp)
        return;
    hang_up(qmp);
    json_frame_done(&qmp->frame);
    free(qmp);
}

/* Fills the command. 0 or a negative errno. */
static int write_command(struct command *command, const char *name, const char *arguments, int fd)
{
    int len = asprintf(&command->text, "{\"execute\": \"%s\", \"id\": %llu%s%s}\n", name,
                       (unsigned long long)command->id, arguments ? ", \"arguments\": " : "",
                       arguments ? arguments : "");
    if (len < 0)
        return -ENOMEM;
    command->len = (size_t)len;
    command->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return fd >= 0 && command->fd < 0 ? -errno : 0;
}

void qmp_execute(struct qmp *qmp, const char *name, const char *arguments, int fd,
                 qmp_answer_fn answer, void *argument)
{
    struct command *command = qmp && qmp->fd >= 0 ? calloc(1, sizeof(*command)) : NULL;
    if (!command) {
        if (answer)
            answer(argument, NULL,
                   qmp && qmp->fd >= 0 ? "no memory" : "the VMM has no QMP, or has gone");
        return;
    }
    *command = (struct command){
        .qmp = qmp, .id = ++qmp->last_id, .fd = -1, .answer = answer, .argument = argument};
    list_init(&command->link);
    list_append(&qmp->commands, &command->link);
    timer_init(&command->patience, on_late, command);
    int err = write_command(command, name, arguments, fd);
    if (err < 0) {
        finish(command, NULL, strerror(-err));
        return;
    }
    if (answer)
        timer_set(qmp->timers, &command->patience, clock_now_ns() + LIMIT_QMP_MS * 1000000ull);
    if (qmp->greeted && transmit(qmp) < 0)
        hang_up(qmp);
}

void qmp_forget(struct qmp *qmp, const void *argument)
{
    if (!qmp)
        return;
    for (struct list *link = qmp->commands.next; link != &qmp->commands; link = link->next) {
        struct command *command = list_entry(link, struct command, link);
        if (command->argument == argument)
            command->answer = NULL;
    }
}

bool qmp_is_ready(const struct qmp *qmp)
{
    return qmp && qmp->fd >= 0 && qmp->greeted;
}
