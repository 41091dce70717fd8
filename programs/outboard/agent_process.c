// SPDX-License-Identifier: BSD-3-Clause
#include "agent_process.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent_confine.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "proxy/options.h"

#define NS_PER_MS UINT64_C(1000000)

/* How long a freeze waits for a proxy that has other work to do. */
#define HOLD_PATIENCE_MS 2000u

struct process {
    int fd; /* to the proxy */
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct agent *agent;
    bool is_held; /* the proxy has said so */
    bool over;
};

/* A proxy that takes no message has failed, or has gone. */
static void say(struct process *process, const struct agent_message *message, int fd)
{
    if (socket_send(process->fd, message, sizeof(*message), fd) != sizeof(*message))
        process->over = true;
}

static void connect_for(struct process *process, const struct agent_message *request)
{
    int fd = agent_connect(process->agent, request->caller);
    const struct agent_message answer = {.verb = AGENT_ANSWER, .result = fd < 0 ? fd : 0};
    say(process, &answer, fd);
    if (fd >= 0)
        close(fd);
}

/* One message, if there is one. */
static void hear(struct process *process)
{
    struct agent_message message;
    struct received_fds fds;
    ssize_t len = socket_receive(process->fd, &message, sizeof(message), &fds);
    if (len == -EAGAIN)
        return;
    for (unsigned i = 0; len >= 0 && i < fds.count; i++)
        closer_close(fds.fd[i]);
    if (len != sizeof(message) || fds.count > 0)
        process->over = true;
    else if (message.verb == AGENT_HELD)
        process->is_held = true;
    else if (message.verb == AGENT_CONNECT && memchr(message.caller, '\0', sizeof(message.caller)))
        connect_for(process, &message);
    else
        process->over = true;
}

static void on_message(void *argument, uint32_t events)
{
    hear(argument);
}

static void hold_log(void *argument, bool hold)
{
    struct process *process = argument;
    const struct agent_message message = {.verb = hold ? AGENT_HOLD : AGENT_RELEASE};
    const uint64_t until_ns = clock_now_ns() + HOLD_PATIENCE_MS * NS_PER_MS;
    process->is_held = !hold;
    say(process, &message, -1);
    while (!process->over && !process->is_held && socket_wait(process->fd, POLLIN, until_ns) == 0)
        hear(process);
}

struct agent_policy agent_process_policy(const struct proxy_options *options)
{
    return (struct agent_policy){.allow = options->agent.allow,
                                 .block = options->agent.block,
                                 .read_only = options->agent.read_only};
}

static int prepare(struct process *process, const struct proxy_options *options,
                   struct ob_fault *fault)
{
    struct loop_source *source;
    const struct agent_policy policy = agent_process_policy(options);
    log_set_verbose(options->verbose);
    timers_init(&process->timers);
    int err = agent_confine(options->cell.how, &policy, options->agent.freeze_hook, fault);
    if (err < 0)
        return err;
    err = closer_start();
    if (err == 0)
        err = loop_new(&process->loop);
    if (err == 0)
        err = children_new(process->loop, &process->children);
    if (err == 0)
        err = loop_add(process->loop, process->fd, EPOLLIN, on_message, process, &source);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start the agent: %s", strerror(-err));
    const struct agent_config config = {
        .loop = process->loop,
        .timers = &process->timers,
        .children = process->children,
        .policy = policy,
        .state_dir = options->agent.state_dir,
        .freeze_hook = options->agent.freeze_hook,
        .hold_log = hold_log,
        .argument = process,
    };
    return agent_new(&config, &process->agent, fault);
}

static int work(int fd, const void *context)
{
    struct process process = {.fd = socket_child_stand_alone(fd)};
    struct ob_fault fault = {0};
    int err = process.fd < 0 ? ob_fault_set(&fault, process.fd, "can't start the agent: %s",
                                            strerror(-process.fd))
                             : prepare(&process, context, &fault);
    if (err < 0)
        log_line("%s", fault.text);
    while (err >= 0 && !process.over) {
        err = loop_wait(process.loop, timer_wait_ms(timers_next(&process.timers), clock_now_ns()));
        timers_run(&process.timers, clock_now_ns());
    }
    agent_free(process.agent);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int agent_process_start(const struct proxy_options *options, struct ob_fault *fault)
{
    const char *lists[] = {options->agent.allow, options->agent.block};
    for (int i = 0; i < 2; i++) {
        if (lists[i] && !agent_policy_check_list(lists[i], fault))
            return -EINVAL;
    }
    int fd = socket_child_start(SOCK_SEQPACKET, work, options);
    return fd < 0 ? ob_fault_set(fault, fd, "can't start the agent: %s", strerror(-fd)) : fd;
}
