// SPDX-License-Identifier: BSD-3-Clause
#include "socket_server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent_confine.h"
#include "endpoint/acceptor.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/signals.h"
#include "proxy/credentials.h"

struct socket_server {
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct agent *agent;
    struct acceptor *acceptor;
    int signal_fd;
    bool stop;
};

static void on_signal(void *argument, uint32_t events)
{
    struct socket_server *server = argument;
    server->stop = signals_take(server->signal_fd) >= 0;
}

static void on_connection(void *argument, int fd)
{
    struct socket_server *server = argument;
    char caller[CREDENTIALS_TEXT_MAX];
    credentials_describe(fd, NULL, caller);
    int err = agent_serve(server->agent, fd, caller);
    if (err < 0)
        log_line("can't serve a client: %s", strerror(-err));
}

static int listen_at(struct socket_server *server, const char *path, struct ob_fault *fault)
{
    struct address address;
    const struct acceptor_config config = {
        .loop = server->loop,
        .timers = &server->timers,
        .mode = 0600,
        .title = "the agent's socket",
        .accepted = on_connection,
        .argument = server,
    };
    int err = address_parse_path(path, &address, fault);
    if (err < 0)
        return err;
    err = acceptor_new(&address, &config, &server->acceptor);
    return err < 0 ? ob_fault_set(fault, err, "can't listen at %.180s: %s", path, strerror(-err))
                   : 0;
}

static int start(struct socket_server *server, const char *path, const struct agent_config *config,
                 struct ob_fault *fault)
{
    struct loop_source *source;
    struct agent_config own = *config;
    timers_init(&server->timers);
    int err = closer_start();
    if (err == 0)
        err = loop_new(&server->loop);
    if (err == 0)
        err = server->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(server->loop, server->signal_fd, EPOLLIN, on_signal, server, &source);
    if (err == 0)
        err = children_new(server->loop, &server->children);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start: %s", strerror(-err));
    own.loop = server->loop;
    own.timers = &server->timers;
    own.children = server->children;
    err = agent_new(&own, &server->agent, fault);
    return err < 0 ? err : listen_at(server, path, fault);
}

int socket_server_run(const char *path, const struct agent_config *config, enum confine_how how)
{
    struct socket_server server = {.signal_fd = -1};
    struct ob_fault fault = {0};
    int err = agent_confine(how, &config->policy, config->freeze_hook, &fault);
    if (err == 0)
        err = start(&server, path, config, &fault);
    if (err < 0) {
        log_line("%s", fault.text);
    } else {
        log_never_wait();
        notify_send("READY=1\n");
    }
    while (err >= 0 && !server.stop) {
        err = loop_wait(server.loop, timer_wait_ms(timers_next(&server.timers), clock_now_ns()));
        timers_run(&server.timers, clock_now_ns());
    }
    acceptor_free(server.acceptor);
    agent_free(server.agent);
    children_free(server.children);
    loop_free(server.loop);
    if (server.signal_fd >= 0)
        close(server.signal_fd);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
