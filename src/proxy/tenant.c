// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/tenant.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/limits.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"

#define NS_PER_S 1000000000u

static int get_random(void *user, void *bytes, size_t len)
{
    return getrandom(bytes, len, 0) == (ssize_t)len ? 0 : -EIO;
}

static void on_up(void *user, uint64_t tag)
{
    struct tenant *tenant = user;
    if (tenant->stood)
        tenant->stood(tenant->argument);
    else
        tenant->ops->stands(tenant->proxy, tag);
}

static void on_ended(void *user, uint32_t reason)
{
    struct tenant *tenant = user;
    if (tenant->failed)
        tenant->failed(tenant->argument, reason);
    else
        tenant->ops->ended(tenant->proxy, reason);
}

static void on_pong(void *user, uint64_t round_trip_ns)
{
    struct tenant *tenant = user;
    if (!tenant->stood)
        tenant->ops->pong(tenant->proxy, round_trip_ns);
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct tenant *tenant = user;
    tenant->ops->incoming(tenant->proxy, stream, open);
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

int tenant_new(struct proxy *proxy, const struct tenant_ops *ops, struct tenant **ret_tenant)
{
    const struct proxy_options *options = proxy->options;
    struct tenant *tenant = calloc(1, sizeof(*tenant));
    if (!tenant)
        return -ENOMEM;
    const struct ob_session_config config = {
        .size = sizeof(config),
        .channel = options->channel.framing,
        .events = {.up = on_up,
                   .ended = on_ended,
                   .pong = on_pong,
                   .incoming = on_incoming,
                   .opened = on_opened,
                   .refused = on_refused,
                   .writable = on_writable,
                   .finished = on_finished,
                   .reset = on_reset},
        .user = tenant,
        .random = get_random,
        .window = options->window,
        .key = options->key_len ? options->key : NULL,
        .key_len = options->key_len,
        .listens = options->channel.kind == CHANNEL_LISTEN,
        .max_streams = LIMIT_PROXY_STREAMS,
        .keepalive_ns = keepalive_ns(options),
        .idle_timeout_ns = (uint64_t)options->idle_timeout_s * NS_PER_S,
    };
    tenant->proxy = proxy;
    tenant->ops = ops;
    int err = ob_session_new(&config, &tenant->session);
    if (err < 0)
        free(tenant);
    else
        *ret_tenant = tenant;
    return err;
}

void tenant_free(struct tenant *tenant)
{
    if (!tenant)
        return;
    ob_session_free(tenant->session);
    free(tenant);
}

void tenant_move_in(struct tenant *tenant)
{
    struct proxy *proxy = tenant->proxy;
    tenant_free(proxy->tenant);
    tenant->stood = NULL;
    tenant->failed = NULL;
    proxy->tenant = tenant;
    proxy->session = tenant->session;
    tenant->ops->stands(proxy, ob_session_tag(tenant->session));
}
