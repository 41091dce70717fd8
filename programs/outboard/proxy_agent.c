// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent_process.h"
#include "base/auto.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "proxy/proxy.h"

struct link {
    struct proxy *proxy;
    int fd; /* -1: the agent has gone */
    struct loop_source *source;
};

static void close_fds(struct received_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++)
        close(fds->fd[i]);
    fds->count = 0;
}

static void lose(struct link *link)
{
    struct proxy *proxy = link->proxy;
    if (link->fd < 0)
        return;
    loop_remove(take_ptr(&link->source));
    close(take_fd(&link->fd));
    log_hold(false); /* its file systems are thawed at its end */
    proxy_log("the agent's process has gone");
    proxy->stop = true;
    proxy->exit_status = EXIT_FAILURE;
}

static void hold(struct link *link)
{
    const struct agent_message held = {.verb = AGENT_HELD};
    log_hold(true);
    socket_send(link->fd, &held, sizeof(held), -1); /* if it has gone, the next receive tells */
}

/* One message: 1 with an answer, 0 when it was another; -EAGAIN: none is there; -ENOTCONN. */
static int hear(struct link *link, struct agent_message *ret_message, struct received_fds *ret_fds)
{
    struct agent_message *message = ret_message;
    ssize_t len =
        link->fd < 0 ? -ENOTCONN : socket_receive(link->fd, message, sizeof(*message), ret_fds);
    if (len == -EAGAIN)
        return -EAGAIN;
    if (len == -EPROTO) { /* no room for its descriptor */
        *message = (struct agent_message){.verb = AGENT_ANSWER, .result = -EMFILE};
        ret_fds->count = 0;
        return 1;
    }
    if (len != sizeof(*message)) {
        lose(link);
        return -ENOTCONN;
    }
    if (message->verb == AGENT_ANSWER)
        return 1;
    close_fds(ret_fds);
    if (message->verb == AGENT_HOLD)
        hold(link);
    else
        log_hold(false);
    return 0;
}

static void on_message(void *argument, uint32_t events)
{
    struct agent_message message;
    struct received_fds fds;
    if (hear(argument, &message, &fds) > 0)
        close_fds(&fds); /* nobody has asked */
}

static int connect_agent(void *argument, const char *caller)
{
    struct link *link = argument;
    struct agent_message message = {.verb = AGENT_CONNECT};
    struct received_fds fds;
    snprintf(message.caller, sizeof(message.caller), "%s", caller);
    if (link->fd < 0 || socket_send(link->fd, &message, sizeof(message), -1) != sizeof(message))
        return -ENOTCONN;
    int heard;
    while ((heard = hear(link, &message, &fds)) <= 0) {
        if (heard == -ENOTCONN)
            return heard;
        if (heard == -EAGAIN)
            socket_wait(link->fd, POLLIN, UINT64_MAX);
    }
    int fd = message.result < 0 ? message.result : fds.count > 0 ? take_fd(&fds.fd[0]) : -EPROTO;
    close_fds(&fds);
    return fd;
}

int proxy_agent_join(struct proxy *proxy, int fd, void **ret_link, struct ob_fault *fault)
{
    const struct agent_policy policy = agent_process_policy(proxy->options);
    struct link *link = malloc(sizeof(*link));
    int err = link ? 0 : -ENOMEM;
    if (err == 0) {
        *link = (struct link){.proxy = proxy, .fd = fd};
        err = loop_add(proxy->loop, fd, EPOLLIN, on_message, link, &link->source);
    }
    if (err < 0) {
        free(link);
        close(fd);
        return ob_fault_set(fault, err, "can't join the agent: %s", strerror(-err));
    }
    proxy->agent.connect = connect_agent;
    proxy->agent.argument = link;
    proxy->agent.capabilities = agent_capabilities(&policy);
    *ret_link = link;
    return 0;
}

void proxy_agent_leave(struct proxy *proxy, void *argument)
{
    struct link *link = argument;
    proxy->agent.connect = NULL;
    free(take_ptr(&proxy->agent.capabilities));
    loop_remove(link->source);
    if (link->fd >= 0)
        socket_child_end(link->fd);
    log_hold(false);
    free(link);
}
