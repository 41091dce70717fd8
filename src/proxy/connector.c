// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/connector.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/acceptor.h"
#include "endpoint/dial.h"
#include "endpoint/outside.h"
#include "os/child.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "proxy/appearance.h"
#include "proxy/channel_open.h"
#include "proxy/remote.h"
#include "sandbox/outsider.h"

struct connector {
    const struct proxy_options *options;
    rlim_t open_files;
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct dialer dialer;
    int fd;
    struct loop_source *source;
    struct list jobs;
    struct list owed; /* answers that the proxy has not taken yet */
    unsigned owed_count;
    unsigned peer_listeners;
    bool over;
};

enum job_kind {
    DIALLING,
    LISTENING,
    RUNNING,
};

struct job {
    struct connector *connector;
    struct list link;
    uint32_t id;
    enum job_kind kind;
    struct dial *dial;
    struct child *child;
    struct address address;    /* LISTENING */
    struct socket_place place; /* of its path */
    bool for_peer;
};

struct owed {
    struct list link;
    struct outside_answer answer;
    int fds[OUTSIDE_FDS_MAX];
    unsigned num_fds;
};

static void free_owed(struct owed *owed)
{
    for (unsigned i = 0; i < owed->num_fds; i++)
        close(owed->fds[i]);
    free(owed);
}

/* Sends answers until the socket is full. */
static void settle(struct connector *connector)
{
    while (!list_empty(&connector->owed)) {
        struct owed *owed = list_entry(connector->owed.next, struct owed, link);
        ssize_t sent = socket_send_fds(connector->fd, &owed->answer, sizeof(owed->answer),
                                       owed->fds, owed->num_fds);
        if (sent == -EAGAIN)
            break;
        connector->over |= sent < 0;
        list_remove(&owed->link);
        connector->owed_count--;
        free_owed(owed);
    }
    loop_change(connector->source, list_empty(&connector->owed) ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* Takes the descriptors. A proxy that takes no answers has failed. */
static void answer(struct connector *connector, const struct outside_answer *answer, const int *fds,
                   unsigned num_fds)
{
    struct owed *owed = calloc(1, sizeof(*owed));
    if (!owed || connector->owed_count == LIMIT_CONNECTOR_ANSWERS) {
        for (unsigned i = 0; i < num_fds; i++)
            close(fds[i]);
        free(owed);
        connector->over = true;
        return;
    }
    owed->answer = *answer;
    for (unsigned i = 0; i < num_fds; i++)
        owed->fds[owed->num_fds++] = fds[i];
    list_init(&owed->link);
    list_append(&connector->owed, &owed->link);
    connector->owed_count++;
    settle(connector);
}

/* A descriptor, which is taken, or a negative errno. */
static void answer_one(struct connector *connector, uint32_t id, int fd)
{
    const struct outside_answer result = {.id = id, .result = fd < 0 ? fd : 0};
    answer(connector, &result, &fd, fd < 0 ? 0 : 1);
}

static struct job *find(struct connector *connector, uint32_t id, enum job_kind kind)
{
    for (struct list *link = connector->jobs.next; link != &connector->jobs; link = link->next) {
        struct job *job = list_entry(link, struct job, link);
        if (job->id == id && job->kind == kind)
            return job;
    }
    return NULL;
}

/* NULL: no memory. */
static struct job *add_job(struct connector *connector, uint32_t id, enum job_kind kind)
{
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->connector = connector;
    job->id = id;
    job->kind = kind;
    list_init(&job->link);
    list_append(&connector->jobs, &job->link);
    return job;
}

static void end_job(struct job *job)
{
    dial_cancel(job->dial);
    child_forget(job->child);
    if (job->kind == LISTENING && job->place.inode)
        socket_remove(job->address.name, &job->place);
    if (job->for_peer)
        job->connector->peer_listeners--;
    list_remove(&job->link);
    free(job);
}

static bool has_text(const struct address *address, const char *text)
{
    char own[ADDRESS_TEXT_MAX];
    address_format(address, own);
    return strcmp(own, text) == 0;
}

/* Whether the options name the address themselves, so that no rules apply. */
static bool is_target(const struct proxy_options *options, const char *text,
                      struct address *ret_address)
{
    const struct channel_spec *channel = &options->channel;
    const struct address *found =
        channel->kind == CHANNEL_CONNECT && has_text(&channel->address, text) ? &channel->address
                                                                              : NULL;
    for (size_t i = 0; i < options->services.count && !found; i++) {
        const struct service *service = &options->services.service[i];
        if (service->kind == SERVICE_CONNECT && has_text(&service->address, text))
            found = &service->address;
    }
    if (found)
        *ret_address = *found;
    return found;
}

static void on_dialled(void *argument, int fd)
{
    struct job *job = argument;
    struct connector *connector = job->connector;
    uint32_t id = job->id;
    job->dial = NULL;
    end_job(job);
    answer_one(connector, id, fd);
}

static int dial(struct connector *connector, const struct outside_request *request)
{
    const struct proxy_options *options = connector->options;
    const struct rules *rules = NULL;
    struct address address;
    struct ob_fault fault = {0};
    if (request->by_rules || !is_target(options, request->text, &address)) {
        if (address_parse(request->text, &address, &fault) < 0 || address.kind != ADDRESS_TCP)
            return -EACCES;
        rules = options->trust_peer ? NULL : &options->connect;
    }
    struct job *job = add_job(connector, request->id, DIALLING);
    if (!job)
        return -ENOMEM;
    int err = dial_start(&connector->dialer, &address, rules, on_dialled, job, &job->dial);
    if (err < 0)
        end_job(job);
    return err;
}

/* Whether the options name the address themselves; and the mode of its path. */
static bool is_own(const struct proxy_options *options, const char *text,
                   struct address *ret_address, mode_t *ret_mode)
{
    const struct channel_spec *channel = &options->channel;
    const char *const paths[] = {options->control, options->stock_qga, options->events};
    struct ob_fault fault = {0};
    *ret_mode = options->socket_mode;
    if (channel->kind == CHANNEL_LISTEN && has_text(&channel->address, text)) {
        *ret_address = channel->address;
        return true;
    }
    for (size_t i = 0; i < options->local.count; i++)
        if (has_text(&options->local.forward[i].listen, text)) {
            *ret_address = options->local.forward[i].listen;
            return true;
        }
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (paths[i] && address_parse_path(paths[i], ret_address, &fault) == 0 &&
            has_text(ret_address, text)) {
            *ret_mode = paths[i] == options->control ? 0600 : options->socket_mode;
            return true;
        }
    return false;
}

/* Listens, and remembers the socket in the folder. A descriptor or a negative errno. */
static int open_listener(struct job *job, mode_t mode)
{
    const struct address *address = &job->address;
    int fd = acceptor_open(address, mode);
    if (fd >= 0 && address->kind == ADDRESS_UNIX && address->name[0] != '@' &&
        socket_find(address->name, &job->place) < 0)
        job->place = (struct socket_place){0};
    return fd;
}

/* A descriptor or a negative errno. */
static int start_listening(struct connector *connector, const struct outside_request *request)
{
    struct address address;
    struct ob_fault fault = {0};
    mode_t mode;
    bool own = is_own(connector->options, request->text, &address, &mode);
    if (!own && (address_parse(request->text, &address, &fault) < 0 ||
                 !remote_may_listen(connector->options, &address)))
        return -EACCES;
    if (!own && connector->peer_listeners == LIMIT_PEER_LISTENERS)
        return -EBUSY;
    struct job *job = add_job(connector, request->id, LISTENING);
    if (!job)
        return -ENOMEM;
    job->address = address;
    job->for_peer = !own;
    connector->peer_listeners += job->for_peer;
    int fd = open_listener(job, mode);
    if (fd < 0)
        end_job(job);
    return fd;
}

static void on_exit_status(void *argument, int status)
{
    struct job *job = argument;
    struct connector *connector = job->connector;
    const struct outside_answer exited = {.id = job->id, .exited = 1, .result = status};
    job->child = NULL;
    end_job(job);
    answer(connector, &exited, NULL, 0);
}

/* Reads the arguments: of a memfd, since a file may hold read(2) up. 0 or a negative errno. */
static int get_arguments(int fd, int32_t number, char **ret_arguments, size_t *ret_len)
{
    if (fd < 0 || number < 0 || fcntl(fd, F_GET_SEALS) < 0)
        return -EINVAL;
    if ((uint32_t)number > LIMIT_RUN_ARGUMENTS)
        return -E2BIG;
    size_t len = (size_t)number;
    AUTO_FREE char *arguments = calloc(1, len + 1); /* a NUL behind it, whatever it holds */
    if (!arguments)
        return -ENOMEM;
    if (pread(fd, arguments, len, 0) != (ssize_t)len)
        return -EINVAL; // cppcheck-suppress memleak ; AUTO_FREE
    *ret_len = len;
    *ret_arguments = take_ptr(&arguments); // cppcheck-suppress memleak ; AUTO_FREE
    return 0;
}

/* Applies the options. 0 or a negative errno. */
static int choose_command(const struct connector *connector, const struct outside_request *request,
                          char *const *argv, struct command *ret_command)
{
    const struct proxy_options *options = connector->options;
    bool allowed = options->allow_run || options->trust_peer;
    const struct service *service =
        request->declared ? services_find(&options->services, request->text) : NULL;
    if (service ? service->kind == SERVICE_CONNECT : request->declared || !allowed)
        return -EACCES;
    if (!service && !argv[0])
        return -EINVAL;
    *ret_command = (struct command){
        .shell = service ? service->command : NULL,
        .argv = argv,
        .service = request->text,
        .terminal = request->terminal || (service && service->kind == SERVICE_TERMINAL),
        .rows = request->rows,
        .columns = request->columns,
        .open_files = connector->open_files,
        .terminal_type =
            strncmp(request->variable, "TERM=", strlen("TERM=")) == 0 ? request->variable : NULL};
    return 0;
}

/* 0 with descriptors, or a negative errno. */
static int start_command(struct job *job, const struct command *command, bool joined,
                         int fds[OUTSIDE_FDS_MAX], unsigned *ret_num_fds)
{
    struct children *children = job->connector->children;
    struct command_pipes pipes = {-1, -1, -1};
    int err = joined ? pipes.in = command_start_joined(children, command, &job->child)
                     : command_start(children, command, &pipes, &job->child);
    if (err < 0)
        return err;
    child_watch(job->child, on_exit_status, job);
    fds[0] = pipes.in;
    fds[1] = pipes.out;
    fds[2] = pipes.err;
    *ret_num_fds = joined || command->terminal ? 1 : OUTSIDE_FDS_MAX;
    return 0;
}

static void run(struct connector *connector, const struct outside_request *request,
                int arguments_fd)
{
    struct outside_answer result = {.id = request->id};
    struct command command;
    AUTO_FREE char *arguments = NULL;
    size_t len = 0;
    int fds[OUTSIDE_FDS_MAX];
    unsigned num_fds = 0;
    result.result = get_arguments(arguments_fd, request->number, &arguments, &len);
    AUTO_FREE char **argv = result.result == 0 ? command_split(arguments, len) : NULL;
    struct job *job = argv ? add_job(connector, request->id, RUNNING) : NULL;
    if (result.result == 0 && !job)
        result.result = -ENOMEM;
    if (result.result == 0)
        result.result = choose_command(connector, request, argv, &command);
    if (result.result == 0)
        result.result = start_command(job, &command, request->joined, fds, &num_fds);
    if (result.result < 0 && job)
        end_job(job);
    answer(connector, &result, fds, num_fds);
}

static void pass_signal(struct connector *connector, const struct outside_request *request)
{
    struct job *job = find(connector, request->id, RUNNING);
    if (job && request->number > 0 && request->number < NSIG)
        child_signal(job->child, request->number);
}

static void end_if(struct job *job)
{
    if (job)
        end_job(job);
}

/* A descriptor or a negative errno. */
static int open_channel(const struct channel_spec *channel)
{
    switch (channel->kind) {
    case CHANNEL_VIRTIO:
        return channel_open_virtio(channel->path);
    case CHANNEL_SERIAL:
        return channel_open_path(channel->path);
    default:
        return -EACCES;
    }
}

static void tell_user(struct connector *connector, uint32_t id, int fd)
{
    struct outside_answer result = {.id = id};
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        result.result = -errno;
    result.user = peer.uid;
    answer(connector, &result, NULL, 0);
}

/* fd: a descriptor that came with it, the caller's; or -1. False: that is no request. */
static bool serve(struct connector *connector, const struct outside_request *request, int fd)
{
    int err;
    switch (request->verb) {
    case OUTSIDE_DIAL:
        err = dial(connector, request);
        if (err < 0)
            answer_one(connector, request->id, err);
        return true;
    case OUTSIDE_CANCEL:
        end_if(find(connector, request->id, DIALLING));
        return true;
    case OUTSIDE_LISTEN:
        answer_one(connector, request->id, start_listening(connector, request));
        return true;
    case OUTSIDE_UNLISTEN:
        end_if(find(connector, request->id, LISTENING));
        return true;
    case OUTSIDE_RUN:
        run(connector, request, fd);
        return true;
    case OUTSIDE_SIGNAL:
        pass_signal(connector, request);
        return true;
    case OUTSIDE_OPEN:
        answer_one(connector, request->id, open_channel(&connector->options->channel));
        return true;
    case OUTSIDE_WATCH:
        answer_one(connector, request->id, appearance_open(&connector->options->channel));
        return true;
    case OUTSIDE_USER:
        tell_user(connector, request->id, fd);
        return true;
    default:
        return false;
    }
}

static bool is_text(const char *text, size_t size)
{
    return memchr(text, '\0', size);
}

/* An id that is in use would have two answers. */
static bool is_sound(struct connector *connector, const struct outside_request *request)
{
    bool ends = request->verb == OUTSIDE_CANCEL || request->verb == OUTSIDE_UNLISTEN ||
                request->verb == OUTSIDE_SIGNAL;
    bool used = false;
    for (enum job_kind kind = DIALLING; kind <= RUNNING; kind++)
        used |= find(connector, request->id, kind) != NULL;
    return request->id && (ends || !used) && is_text(request->text, sizeof(request->text)) &&
           is_text(request->variable, sizeof(request->variable));
}

static void on_request(void *argument, uint32_t events)
{
    struct connector *connector = argument;
    struct outside_request request;
    struct received_fds fds;
    settle(connector);
    ssize_t len = socket_receive(connector->fd, &request, sizeof(request), &fds);
    if (len == -EAGAIN)
        return;
    if (len != sizeof(request) || fds.count > 1 || !is_sound(connector, &request) ||
        !serve(connector, &request, fds.count ? fds.fd[0] : -1))
        connector->over = true;
    for (unsigned i = 0; len >= 0 && i < fds.count; i++)
        closer_close(fds.fd[i]);
}

/* A connector that starts commands passes them what it has itself: they may need a set-user-ID
 * program. */
static void confine(const struct proxy_options *options)
{
    const struct channel_spec *channel = &options->channel;
    bool has_device = channel->kind == CHANNEL_VIRTIO || channel->kind == CHANNEL_SERIAL;
    struct outsider_plan plan = {
        .starts_programs = options->allow_run || options->trust_peer,
        .dials = true,
        .listens = true,
        .reads_files = true,
        .makes_sockets = true,
        .device = has_device ? channel->path : NULL,
    };
    for (size_t i = 0; i < options->services.count; i++)
        plan.starts_programs |= options->services.service[i].kind != SERVICE_CONNECT;
    if (options->cell.how != CONFINE_NONE)
        outsider_confine(&plan); /* as far as the kernel can */
}

static int prepare(struct connector *connector)
{
    int err = connector->fd = socket_child_stand_alone(connector->fd);
    if (err < 0)
        return err;
    confine(connector->options);
    err = closer_start();
    if (err == 0)
        err = loop_new(&connector->loop);
    if (err == 0)
        err = children_new(connector->loop, &connector->children);
    if (err == 0)
        err = loop_add(connector->loop, connector->fd, EPOLLIN, on_request, connector,
                       &connector->source);
    dialer_init(&connector->dialer, connector->loop, &connector->timers, connector->children);
    return err;
}

struct start {
    const struct proxy_options *options;
    rlim_t open_files;
};

static int work(int fd, const void *context)
{
    const struct start *start = context;
    struct connector connector = {
        .options = start->options, .open_files = start->open_files, .fd = fd};
    timers_init(&connector.timers);
    list_init(&connector.jobs);
    list_init(&connector.owed);
    int err = prepare(&connector);
    while (err >= 0 && !connector.over) {
        err = loop_wait(connector.loop,
                        timer_wait_ms(timers_next(&connector.timers), clock_now_ns()));
        timers_run(&connector.timers, clock_now_ns());
    }
    while (!list_empty(&connector.jobs))
        end_job(list_entry(connector.jobs.next, struct job, link));
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int connector_start(const struct proxy_options *options, rlim_t open_files)
{
    const struct start start = {options, open_files};
    return socket_child_start_apart(SOCK_SEQPACKET, work, &start);
}
