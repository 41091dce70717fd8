// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/signals.h"
#include "proxy/channel.h"
#include "proxy/control.h"
#include "proxy/flow.h"
#include "proxy/listener.h"
#include "proxy/reason.h"
#include "proxy/relay.h"
#include "proxy/remote.h"
#include "proxy/service.h"
#include "proxy/socks.h"

#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u

void proxy_set_trouble(struct proxy *proxy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(proxy->trouble, sizeof(proxy->trouble), format, args);
    va_end(args);
}

static int get_random(void *user, void *bytes, size_t len)
{
    return getrandom(bytes, len, 0) == (ssize_t)len ? 0 : -EIO;
}

static void on_up(void *user, uint64_t tag)
{
    struct proxy *proxy = user;
    proxy->up_since_ns = clock_now_ns();
    proxy_log_news(proxy, "session %016llx stands", (unsigned long long)tag);
    channel_session_stands(proxy->channel);
    proxy->trouble[0] = '\0';
    remote_on_up(proxy);
    ob_session_ping(proxy->session, proxy->up_since_ns); /* so that status has a round trip */
    control_on_up(proxy);
}

static void on_ended(void *user, uint32_t reason)
{
    struct proxy *proxy = user;
    const char *why = reason_session_text(reason, proxy->options->key_len > 0);
    proxy->ended_reason = reason;
    if (reason_is_lasting(reason))
        proxy_set_trouble(proxy, "%s", why);
    if (!proxy->options->is_private)
        proxy_log("the session ended: %s", why);
    else if (reason_is_lasting(reason))
        control_on_hopeless(proxy, why);
    else if (!proxy->stop && reason != OB_REASON_NONE)
        proxy_log("the session ended: %s", why);
    control_on_ended(proxy);
}

static void on_pong(void *user, uint64_t round_trip_ns)
{
    control_on_pong(user, round_trip_ns);
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    service_incoming(user, stream, open);
}

static struct flow *flow_of(struct ob_stream *stream)
{
    return ob_stream_user(stream);
}

static void on_opened(void *user, struct ob_stream *stream)
{
    struct flow *flow = flow_of(stream);
    if (flow && flow->ops->opened)
        flow->ops->opened(flow);
}

static void on_refused(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct flow *flow = flow_of(stream);
    if (flow && flow->ops->refused)
        flow->ops->refused(flow, reason);
}

static void on_readable(void *user, struct ob_stream *stream)
{
    struct flow *flow = flow_of(stream);
    if (flow && flow->ops->readable)
        flow->ops->readable(flow);
}

static void on_writable(void *user, struct ob_stream *stream)
{
    struct flow *flow = flow_of(stream);
    if (flow && flow->ops->writable)
        flow->ops->writable(flow);
}

static void on_finished(void *user, struct ob_stream *stream)
{
    struct flow *flow = flow_of(stream);
    if (flow && flow->ops->finished)
        flow->ops->finished(flow);
}

static void on_reset(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct flow *flow = flow_of(stream);
    if (flow)
        flow->ops->reset(flow, reason);
}

/* Nobody is to be ended for a silence in which he was not asked for a sign of life. */
static uint64_t keepalive_ns(const struct proxy_options *options)
{
    uint64_t idle = (uint64_t)options->idle_timeout_s * NS_PER_S;
    uint64_t keepalive = (uint64_t)options->keepalive_s * NS_PER_S;
    return idle && (!keepalive || keepalive > idle / 2) ? idle / 3 : keepalive;
}

static int make_session(struct proxy *proxy, struct ob_fault *fault)
{
    const struct proxy_options *options = proxy->options;
    const struct ob_session_config config = {
        .channel = options->channel.framing,
        .events = {.up = on_up,
                   .ended = on_ended,
                   .pong = on_pong,
                   .incoming = on_incoming,
                   .opened = on_opened,
                   .refused = on_refused,
                   .readable = on_readable,
                   .writable = on_writable,
                   .finished = on_finished,
                   .reset = on_reset},
        .user = proxy,
        .random = get_random,
        .window = options->window,
        .key = options->key_len ? options->key : NULL,
        .key_len = options->key_len,
        .listens = options->channel.kind == CHANNEL_LISTEN,
        .max_streams = LIMIT_PROXY_STREAMS,
        .keepalive_ns = keepalive_ns(options),
        .idle_timeout_ns = (uint64_t)options->idle_timeout_s * NS_PER_S,
    };
    int err = ob_session_new(&config, &proxy->session);
    return err < 0 ? ob_fault_set(fault, err, "can't make a session: %s", strerror(-err)) : 0;
}

static void on_signal(void *argument, uint32_t events)
{
    struct proxy *proxy = argument;
    if (signals_take(proxy->signal_fd) >= 0)
        proxy->stop = true;
}

/* A stream takes a descriptor, and the usual limit is there for programs that use select(2). */
static void allow_descriptors(struct proxy *proxy)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    proxy->open_files = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int prepare(struct proxy *proxy, struct ob_fault *fault)
{
    struct loop_source *source;
    log_set_verbose(proxy->options->verbose);
    allow_descriptors(proxy);
    int err = closer_start();
    if (err == 0)
        err = loop_new(&proxy->loop);
    if (err == 0)
        err = proxy->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(proxy->loop, proxy->signal_fd, EPOLLIN, on_signal, proxy, &source);
    if (err == 0)
        err = children_new(proxy->loop, &proxy->children);
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

int proxy_init(struct proxy *proxy, const struct proxy_options *options, struct ob_fault *fault)
{
    *proxy = (struct proxy){.options = options, .signal_fd = -1};
    timers_init(&proxy->timers);
    list_init(&proxy->flows);
    list_init(&proxy->ready);
    list_init(&proxy->lingering);
    list_init(&proxy->listeners);
    list_init(&proxy->controls);
    list_init(&proxy->socks);
    list_init(&proxy->wants);
    list_init(&proxy->dials);
    int err = prepare(proxy, fault);
    if (err == 0)
        err = make_session(proxy, fault);
    if (err == 0 && remote_init(proxy) < 0)
        err = ob_fault_set(fault, -ENOMEM, "no memory for --remote");
    if (err == 0)
        err = listen_locally(proxy, fault);
    if (err == 0)
        err = control_listen(proxy, fault);
    if (err == 0)
        err = channel_new(proxy, &proxy->channel, fault);
    return err;
}

/* Ends the session, so that both sides of every stream learn of it, and says so to the peer if the
 * channel takes it now. */
static void say_farewell(struct proxy *proxy)
{
    if (!proxy->channel)
        return;
    ob_session_end(proxy->session, OB_REASON_SHUTDOWN, clock_now_ns());
    channel_work(proxy->channel);
}

void proxy_done(struct proxy *proxy)
{
    say_farewell(proxy);
    control_done(proxy);
    socks_done(proxy);
    relay_end_lingering(proxy);
    remote_done(proxy);
    listener_free_all(proxy);
    channel_free(proxy->channel);
    ob_session_free(proxy->session);
    children_free(proxy->children);
    loop_free(proxy->loop);
    auto_close(&proxy->signal_fd);
    free(proxy->spare);
}

static int timeout_ms(const struct proxy *proxy)
{
    uint64_t at = timers_next(&proxy->timers);
    uint64_t deadline = ob_session_deadline(proxy->session);
    uint64_t now = clock_now_ns();
    if (deadline < at)
        at = deadline;
    if (at == TIMER_NEVER)
        return -1;
    if (at <= now)
        return 0;
    uint64_t ms = (at - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 60000 ? (int)ms : 60000;
}

static void tick(struct proxy *proxy)
{
    uint64_t now = clock_now_ns();
    timers_run(&proxy->timers, now);
    if (ob_session_deadline(proxy->session) <= now)
        ob_session_tick(proxy->session, now);
}

int proxy_run(struct proxy *proxy)
{
    bool busy = false;
    log_never_wait();
    notify_send("READY=1\n");
    while (!proxy->stop) {
        int err = loop_wait(proxy->loop, busy ? 0 : timeout_ms(proxy));
        if (err < 0) {
            proxy_log("can't wait: %s", strerror(-err));
            return EXIT_FAILURE;
        }
        tick(proxy);
        busy = channel_work(proxy->channel);
    }
    return proxy->exit_status;
}

int proxy_adopt_control(struct proxy *proxy, int fd)
{
    return control_adopt(proxy, fd);
}
