// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/outside.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/signals.h"
#include "proxy/agent_gate.h"
#include "proxy/channel.h"
#include "proxy/control.h"
#include "proxy/flow.h"
#include "proxy/host_service.h"
#include "proxy/listener.h"
#include "proxy/news.h"
#include "proxy/qga_front.h"
#include "proxy/reason.h"
#include "proxy/relay.h"
#include "proxy/remote.h"
#include "proxy/service.h"
#include "proxy/socks.h"
#include "proxy/tenant.h"

static void on_stands(struct proxy *proxy, uint64_t tag)
{
    proxy->history.sessions++;
    proxy->history.up_since_ns = clock_now_ns();
    proxy_log_news(proxy, "session %016llx stands", (unsigned long long)tag);
    channel_session_stands(proxy->channel);
    trouble_clear(&proxy->trouble);
    remote_on_up(proxy);
    host_service_forget_peer(proxy->agent.host);
    news_on_up(proxy->agent.news);
    ob_session_ping(proxy->session,
                    proxy->history.up_since_ns); /* so that status has a round trip */
    control_on_up(proxy);
}

static void on_ended(struct proxy *proxy, uint32_t reason)
{
    const char *why = reason_session_text(reason, proxy->options->key_len > 0);
    bool is_private = proxy->options->is_private;
    proxy->history.ended_reason = reason;
    if (reason_is_lasting(reason))
        trouble_set(&proxy->trouble, "%s", why);
    if (is_private && reason_is_lasting(reason))
        control_on_hopeless(proxy, why);
    else if (!is_private || (!proxy->stop && reason != OB_REASON_NONE))
        proxy_log("the session ended: %s", why);
    control_on_ended(proxy);
}

static void on_pong(struct proxy *proxy, uint64_t round_trip_ns)
{
    control_on_pong(proxy, round_trip_ns);
    channel_on_pong(proxy->channel);
}

static const struct tenant_ops tenant_ops = {
    .stands = on_stands,
    .ended = on_ended,
    .pong = on_pong,
    .incoming = service_incoming,
};

static void on_signal(void *argument, uint32_t events)
{
    struct proxy *proxy = argument;
    if (signals_take(proxy->signal_fd) >= 0 && !news_say_farewell(proxy->agent.news))
        proxy->stop = true;
}

/* A stream takes a descriptor, and the usual limit is there for programs that use select(2). */
rlim_t proxy_allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return before;
}

static void on_connector_gone(void *argument)
{
    struct proxy *proxy = argument;
    proxy_log("the connector has gone, which connects and listens for the proxy in its cell");
    proxy->stop = true;
    proxy->exit_status = EXIT_FAILURE;
}

/* Takes the descriptor. */
static int prepare(struct proxy *proxy, int connector_fd, struct ob_fault *fault)
{
    struct loop_source *source;
    struct outside *outside = NULL;
    log_set_verbose(proxy->options->verbose);
    int err = closer_start();
    if (err == 0)
        err = loop_new(&proxy->loop);
    if (err == 0)
        err = proxy->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(proxy->loop, proxy->signal_fd, EPOLLIN, on_signal, proxy, &source);
    if (err == 0)
        err = children_new(proxy->loop, &proxy->children);
    if (err == 0 && connector_fd >= 0)
        err = outside_new(proxy->loop, &proxy->timers, proxy->children, take_fd(&connector_fd),
                          on_connector_gone, proxy, &outside);
    dialer_init(&proxy->dialer, proxy->loop, &proxy->timers, proxy->children);
    proxy->dialer.outside = outside;
    auto_close(&connector_fd);
    return err < 0 ? ob_fault_set(fault, err, "can't start: %s", strerror(-err)) : 0;
}

static int listen_locally(struct proxy *proxy, struct ob_fault *fault)
{
    const struct forwards *local = &proxy->options->local;
    char text[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < local->count; i++) {
        const struct forward *forward = &local->forward[i];
        struct listener *listener;
        int err = listener_new(proxy, forward, &listener);
        address_format(&forward->listen, text);
        if (err < 0)
            return ob_fault_set(fault, err, "can't listen at %.180s: %s", text, strerror(-err));
        listener_address(listener, text);
        proxy_log("listening at %s for %s", text,
                  forward->service[0] ? forward->service : "SOCKS5");
    }
    return 0;
}

static int start_session(struct proxy *proxy, struct ob_fault *fault)
{
    int err = tenant_new(proxy, &tenant_ops, &proxy->tenant);
    if (err < 0)
        return ob_fault_set(fault, err, "can't make a session: %s", strerror(-err));
    proxy->session = proxy->tenant->session;
    return 0;
}

int proxy_init(struct proxy *proxy, const struct proxy_options *options, struct ob_fault *fault)
{
    return proxy_init_in_cell(proxy, options, -1, proxy_allow_descriptors(), fault);
}

int proxy_init_in_cell(struct proxy *proxy, const struct proxy_options *options, int connector_fd,
                       rlim_t open_files, struct ob_fault *fault)
{
    *proxy = (struct proxy){.options = options, .open_files = open_files, .signal_fd = -1};
    timers_init(&proxy->timers);
    list_init(&proxy->flows);
    list_init(&proxy->ready);
    list_init(&proxy->lingering);
    list_init(&proxy->listeners);
    list_init(&proxy->controls.list);
    list_init(&proxy->socks.list);
    list_init(&proxy->agent.gates.list);
    list_init(&proxy->wants);
    int err = prepare(proxy, connector_fd, fault);
    if (err == 0)
        err = start_session(proxy, fault);
    if (err == 0 && remote_init(proxy) < 0)
        err = ob_fault_set(fault, -ENOMEM, "no memory for --remote");
    if (err == 0)
        err = listen_locally(proxy, fault);
    if (err == 0)
        err = qga_front_new(proxy, &proxy->agent.front, fault);
    if (err == 0)
        err = host_service_new(proxy, &proxy->agent.host, fault);
    if (err == 0 && news_new(proxy, &proxy->agent.news) < 0)
        err = ob_fault_set(fault, -ENOMEM, "no memory for the agent's news");
    if (err == 0)
        err = control_listen(proxy, fault);
    if (err == 0)
        err = channel_new(proxy, &proxy->channel, fault);
    return err;
}

/* A channel that can't come back has gone. */
static void stop_for_channel(struct proxy *proxy)
{
    proxy->stop = true;
    proxy->exit_status =
        proxy->history.ended_reason == OB_REASON_NONE ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* One turn: the bytes of the channel go to the relays' descriptors before the channel is written,
 * so that the credit for it goes along. Returns whether more can be done at once. */
static bool work(struct proxy *proxy)
{
    channel_receive(proxy->channel);
    flow_read_all(proxy->session); /* of a session that a claimant brought, too */
    relay_pump_ready(proxy);
    enum channel_verdict verdict = channel_transmit(proxy->channel);
    if (verdict == CHANNEL_OVER)
        stop_for_channel(proxy);
    return verdict == CHANNEL_GOES_ON;
}

/* Ends the session, so that both sides of every stream learn of it, and says so to the peer if the
 * channel takes it now. */
static void say_farewell(struct proxy *proxy)
{
    if (!proxy->channel)
        return;
    ob_session_end(proxy->session, OB_REASON_SHUTDOWN, clock_now_ns());
    work(proxy);
}

void proxy_done(struct proxy *proxy)
{
    say_farewell(proxy);
    control_done(proxy);
    qga_front_free(proxy->agent.front);
    agent_gate_end_all(proxy);
    news_free(proxy->agent.news);
    host_service_free(proxy->agent.host);
    socks_done(proxy);
    relay_end_lingering(proxy);
    remote_done(proxy);
    listener_free_all(proxy);
    channel_free(proxy->channel);
    tenant_free(proxy->tenant);
    outside_free(proxy->dialer.outside);
    children_free(proxy->children);
    loop_free(proxy->loop);
    auto_close(&proxy->signal_fd);
    closer_stop(0);
    free(proxy->spare);
}

static int timeout_ms(const struct proxy *proxy)
{
    uint64_t at = timers_next(&proxy->timers);
    uint64_t deadline = ob_session_deadline(proxy->session);
    return timer_wait_ms(deadline < at ? deadline : at, clock_now_ns());
}

static void tick(struct proxy *proxy)
{
    uint64_t now = clock_now_ns();
    timers_run(&proxy->timers, now);
    if (ob_session_deadline(proxy->session) <= now)
        ob_session_tick(proxy->session, now);
}

int proxy_turn(struct proxy *proxy, bool may_wait)
{
    int err = loop_wait(proxy->loop, may_wait ? timeout_ms(proxy) : 0);
    if (err < 0)
        return err;
    tick(proxy);
    return work(proxy);
}

int proxy_run(struct proxy *proxy, int notify_fd)
{
    int busy = 0;
    log_never_wait();
    notify_send_to(notify_fd, "READY=1\n");
    while (!proxy->stop) {
        busy = proxy_turn(proxy, !busy);
        if (busy < 0) {
            proxy_log("can't wait: %s", strerror(-busy));
            return EXIT_FAILURE;
        }
    }
    return proxy->exit_status;
}

int proxy_adopt_control(struct proxy *proxy, int fd)
{
    return control_adopt(proxy, fd);
}
