// SPDX-License-Identifier: BSD-3-Clause
/*
 * Services that the other end may open:
 *
 *   NAME           a service that --service declares; to declare it is to allow it
 *   tcp:HOST:PORT  a destination that --allow-connect allows
 *   @listen        remote.c, where --allow-listen allows it
 *   @run           run.c, where --allow-run does; NAME of a command with the metadata "run" too
 *   @agent         proxy.agent, where --allow-agent allows it
 *   @host          host_service.c, with --events
 *
 * --trust-peer allows all of these but NAME and @host. Nothing else exists.
 */
#include "proxy/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/printable.h"
#include "endpoint/command.h"
#include "endpoint/dial.h"
#include "os/socket.h"
#include "proxy/credentials.h"
#include "proxy/flow.h"
#include "proxy/host_service.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/relay.h"
#include "proxy/remote.h"
#include "proxy/run.h"

/* A stream whose destination is being connected to. */
struct opening {
    struct flow flow;
    struct dial *dial;
};

static void on_dialled(void *argument, int fd)
{
    struct opening *opening = argument;
    struct flow *flow = &opening->flow;
    if (fd >= 0) {
        relay_accept(flow, fd, RELAY_SOCKET, NULL);
    } else {
        proxy_log_verbose(flow->proxy, "%s: can't connect: %s", flow->service, strerror(-fd));
        ob_stream_refuse(flow->stream, reason_of_errno(fd));
        flow->stream = NULL;
        flow_end(flow, OB_REASON_NONE);
    }
    free(opening);
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    struct opening *opening = list_entry(flow, struct opening, flow);
    dial_cancel(opening->dial);
    flow_end(flow, OB_REASON_NONE);
    free(opening);
}

static const struct flow_ops opening_ops = {.reset = on_reset};

static void connect_to(struct proxy *proxy, struct ob_stream *stream, const char *name,
                       const struct address *address, const struct rules *rules)
{
    struct opening *opening = calloc(1, sizeof(*opening));
    if (!opening || flow_take(&opening->flow, proxy, &opening_ops, stream, name) < 0) {
        ob_stream_refuse(stream, OB_REASON_NO_MEMORY);
        free(opening);
        return;
    }
    int err = dial_start(&proxy->dialer, address, rules, on_dialled, opening, &opening->dial);
    if (err < 0)
        on_dialled(opening, err);
}

static void start_command(struct proxy *proxy, struct ob_stream *stream,
                          const struct service *service)
{
    struct flow flow = {0};
    struct child *child;
    const struct command command = {.shell = service->command,
                                    .service = service->name,
                                    .terminal = service->kind == SERVICE_TERMINAL,
                                    .open_files = proxy->open_files,
                                    .outside = proxy->dialer.outside};
    int fd = command_start_joined(proxy->children, &command, &child);
    if (fd < 0) {
        proxy_log("%s: can't start the command: %s", service->name, strerror(-fd));
        ob_stream_refuse(stream, reason_of_errno(fd));
        return;
    }
    if (flow_take(&flow, proxy, NULL, stream, service->name) < 0) {
        ob_stream_refuse(stream, OB_REASON_NO_MEMORY);
        socket_close(fd);
        return;
    }
    relay_accept(&flow, fd, command.terminal ? RELAY_TERMINAL : RELAY_COMMAND, child);
}

static void open_declared(struct proxy *proxy, struct ob_stream *stream, const char *name,
                          const struct ob_open *open)
{
    bool is_3 = strncmp(name, RUN_SERVICE_3_PREFIX, strlen(RUN_SERVICE_3_PREFIX)) == 0;
    if (is_3)
        name += strlen(RUN_SERVICE_3_PREFIX);
    const struct service *service = services_find(&proxy->options->services, name);
    bool wants_run = open->metadata_len == strlen(RUN_METADATA) &&
                     memcmp(open->metadata, RUN_METADATA, open->metadata_len) == 0;
    if (!service || (wants_run && service->kind == SERVICE_CONNECT) || (is_3 && !wants_run))
        ob_stream_refuse(stream, OB_REASON_NO_SERVICE);
    else if (service->kind == SERVICE_CONNECT)
        connect_to(proxy, stream, name, &service->address, NULL);
    else if (wants_run)
        run_serve(proxy, stream, service, is_3);
    else
        start_command(proxy, stream, service);
}

static void open_destination(struct proxy *proxy, struct ob_stream *stream, const char *name)
{
    const struct proxy_options *options = proxy->options;
    struct address address;
    struct ob_fault fault = {0};
    if (address_parse(name, &address, &fault) < 0 || address.kind != ADDRESS_TCP) {
        ob_stream_refuse(stream, OB_REASON_FORBIDDEN);
        return;
    }
    connect_to(proxy, stream, name, &address, options->trust_peer ? NULL : &options->connect);
}

/* The caller, by the words of the peer. */
static void caller_of(const struct ob_open *open, char ret_caller[CALLER_TEXT_MAX])
{
    size_t len = (size_t)snprintf(ret_caller, CALLER_TEXT_MAX, "the other end");
    if (open->metadata_len == 0)
        return;
    len += (size_t)snprintf(ret_caller + len, CALLER_TEXT_MAX - len, ", ");
    printable_copy(ret_caller + len, CALLER_TEXT_MAX - len, open->metadata, open->metadata_len);
}

static void open_agent(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open)
{
    const struct proxy_options *options = proxy->options;
    struct flow flow = {0};
    char caller[CALLER_TEXT_MAX];
    if (!proxy->agent.connect || (!options->allow_agent && !options->trust_peer)) {
        ob_stream_refuse(stream, proxy->agent.connect ? OB_REASON_FORBIDDEN : OB_REASON_NO_SERVICE);
        return;
    }
    caller_of(open, caller);
    int fd = proxy->agent.connect(proxy->agent.argument, caller);
    if (fd < 0) {
        ob_stream_refuse(stream, fd == -EAGAIN ? OB_REASON_BUSY : reason_of_errno(fd));
        return;
    }
    if (flow_take(&flow, proxy, NULL, stream, AGENT_SERVICE) < 0) {
        ob_stream_refuse(stream, OB_REASON_NO_MEMORY);
        socket_close(fd);
        return;
    }
    relay_accept(&flow, fd, RELAY_SOCKET, NULL);
}

static bool is_run(const char *name)
{
    return strcmp(name, RUN_SERVICE) == 0 || strcmp(name, RUN_SERVICE_2) == 0 ||
           strcmp(name, RUN_SERVICE_3) == 0;
}

void service_incoming(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open)
{
    char name[OB_SESSION_SERVICE_MAX + 1];
    memcpy(name, open->service, open->service_len);
    name[open->service_len] = '\0';
    const struct proxy_options *options = proxy->options;
    if (strlen(name) != open->service_len)
        ob_stream_refuse(stream, OB_REASON_NO_SERVICE);
    else if (strcmp(name, REMOTE_SERVICE) == 0)
        remote_incoming(proxy, stream, open);
    else if (strcmp(name, AGENT_SERVICE) == 0)
        open_agent(proxy, stream, open);
    else if (strcmp(name, HOST_SERVICE) == 0)
        host_service_open(proxy, stream);
    else if (!is_run(name) && strchr(name, ':'))
        open_destination(proxy, stream, name);
    else if (!is_run(name))
        open_declared(proxy, stream, name, open);
    else if (options->allow_run || options->trust_peer)
        run_serve(proxy, stream, NULL, strcmp(name, RUN_SERVICE_3) == 0);
    else
        ob_stream_refuse(stream, OB_REASON_FORBIDDEN);
}
