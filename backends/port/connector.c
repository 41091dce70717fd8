// SPDX-License-Identifier: BSD-3-Clause
#include "port/connector.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/list.h"
#include "endpoint/command.h"
#include "endpoint/dial.h"
#include "os/child.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "sandbox/outsider.h"

struct request {
    uint64_t key;
    uint64_t id; /* 32 bits of it */
};

struct connector {
    const struct connector_ops *ops;
    const void *context;
    int fd;
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct dialer dialer;
    struct loop_source *source;
    unsigned calls;
    rlim_t open_files;
    bool over;
};

struct call {
    struct connector *connector;
    uint32_t id;
};

/* Takes the descriptor, or a negative errno. A device that takes no answers has failed: each answer
 * fits into the socket of one that does. */
static void answer(struct connector *connector, uint32_t id, int fd)
{
    const struct connector_answer result = {.id = id, .result = fd < 0 ? fd : 0};
    int wait = socket_wait(connector->fd, POLLOUT, UINT64_MAX);
    ssize_t sent = wait < 0 ? wait : socket_send(connector->fd, &result, sizeof(result), fd);
    connector->over |= sent < 0;
    if (fd >= 0)
        close(fd);
}

static void on_dialled(void *argument, int fd)
{
    struct call *call = argument;
    struct connector *connector = call->connector;
    uint32_t id = call->id;
    free(call);
    connector->calls--;
    answer(connector, id, fd);
}

static int dial(struct connector *connector, uint32_t id, const struct address *address)
{
    struct dial *dial;
    if (connector->calls == CONNECTOR_CALLS)
        return -EBUSY;
    struct call *call = malloc(sizeof(*call));
    if (!call)
        return -ENOMEM;
    *call = (struct call){connector, id};
    connector->calls++;
    int err = dial_start(&connector->dialer, address, NULL, on_dialled, call, &dial);
    if (err < 0) {
        connector->calls--;
        free(call);
    }
    return err;
}

static int dial_messages(const struct address *address)
{
    bool has_path = address->kind == ADDRESS_UNIX && address->name[0] != '@';
    int fd = has_path ? socket_connect_messages(address->name) : -EPROTONOSUPPORT;
    if (fd >= 0)
        socket_refuse_fds(fd);
    return fd;
}

/* Nobody waits for its end: the end of its standard streams tells. */
static int run(struct connector *connector, const struct connector_target *target)
{
    const struct command command = {
        .shell = target->command, .service = target->service, .open_files = connector->open_files};
    struct child *child;
    int fd = command_start_joined(connector->children, &command, &child);
    if (fd >= 0)
        child_forget(child);
    return fd;
}

static void serve(struct connector *connector, const struct request *request)
{
    struct connector_target target = {0};
    int err = connector->ops->resolve(connector->context, request->key, &target);
    if (err == 0 && target.command)
        answer(connector, (uint32_t)request->id, run(connector, &target));
    else if (err == 0 && target.messages)
        answer(connector, (uint32_t)request->id, dial_messages(&target.address));
    else if (err == 0)
        err = dial(connector, (uint32_t)request->id, &target.address);
    if (err < 0)
        answer(connector, (uint32_t)request->id, err);
}

static void on_request(void *argument, uint32_t events)
{
    struct connector *connector = argument;
    struct request request;
    struct received_fds fds;
    ssize_t len = socket_receive(connector->fd, &request, sizeof(request), &fds);
    if (len == -EAGAIN)
        return;
    if (len != sizeof(request) || fds.count > 0)
        connector->over = true;
    else
        serve(connector, &request);
    for (unsigned i = 0; len >= 0 && i < fds.count; i++)
        closer_close(fds.fd[i]);
}

static int stand_alone(struct connector *connector)
{
    struct rlimit files;
    int fd = socket_child_stand_alone(connector->fd);
    if (fd < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return fd < 0 ? fd : -errno;
    connector->fd = fd;
    connector->open_files = files.rlim_cur;
    return 0;
}

void connector_needs_address(struct connector_needs *needs, const struct address *address)
{
    needs->hosts |= address->kind == ADDRESS_TCP;
    needs->abstract |= address->kind == ADDRESS_UNIX && address->name[0] == '@';
}

static void confine(const struct connector_needs *needs)
{
    const struct outsider_plan plan = {
        .starts_programs = needs->commands,
        .dials = needs->hosts,
        .reads_files = needs->hosts,
        .dials_abstract = needs->abstract,
        .removes_files = needs->removes,
    };
    outsider_confine(&plan); /* as far as the kernel can */
}

static int prepare(struct connector *connector, const struct connector_needs *needs)
{
    int err = stand_alone(connector);
    if (err < 0)
        return err;
    confine(needs);
    err = closer_start();
    if (err == 0)
        err = loop_new(&connector->loop);
    if (err == 0)
        err = children_new(connector->loop, &connector->children);
    if (err == 0)
        err = loop_add(connector->loop, connector->fd, EPOLLIN, on_request, connector,
                       &connector->source);
    if (err == 0)
        dialer_init(&connector->dialer, connector->loop, &connector->timers, connector->children);
    return err;
}

struct work {
    const struct connector_ops *ops;
    const struct connector_needs *needs;
    const void *context;
};

static int work(int fd, const void *argument)
{
    const struct work *work = argument;
    struct connector connector = {.ops = work->ops, .context = work->context, .fd = fd};
    timers_init(&connector.timers);
    int err = prepare(&connector, work->needs);
    while (err >= 0 && !connector.over) {
        err = loop_wait(connector.loop,
                        timer_wait_ms(timers_next(&connector.timers), clock_now_ns()));
        timers_run(&connector.timers, clock_now_ns());
    }
    work->ops->end(work->context);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int connector_start(const struct connector_ops *ops, const struct connector_needs *needs,
                    const void *context)
{
    const struct work argument = {ops, needs, context};
    return socket_child_start_apart(SOCK_SEQPACKET, work, &argument);
}

int connector_ask(int fd, uint32_t id, uint64_t key)
{
    const struct request request = {.key = key, .id = id};
    ssize_t sent = fd < 0 ? -ENOTCONN : socket_send(fd, &request, sizeof(request), -1);
    return sent < 0 ? (int)sent : 0;
}

int connector_take(int fd, struct connector_answer *ret_answer, int *ret_fd)
{
    struct received_fds fds;
    *ret_answer = (struct connector_answer){0};
    ssize_t len = socket_receive(fd, ret_answer, sizeof(*ret_answer), &fds);
    if (len < 0)
        return len == -EAGAIN ? -EAGAIN : -ENOTCONN;
    *ret_fd = fds.count > 0 ? fds.fd[0] : -1;
    for (unsigned i = 1; i < fds.count; i++)
        close(fds.fd[i]);
    return 0;
}

void connector_finish(int fd)
{
    if (fd >= 0)
        socket_child_end(fd);
}
