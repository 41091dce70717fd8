// SPDX-License-Identifier: BSD-3-Clause
/*
 * A want (one -R) is ASLEEP while no session stands, and otherwise ASKING, LISTENING, or WAITING to
 * ask again: a port that is taken at the other end may become free. A request that an option of the
 * other end forbids is not repeated in that session.
 */
#include "proxy/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "os/clock.h"
#include "proxy/flow.h"
#include "proxy/listener.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"

#define TEXT_MAX (ADDRESS_TEXT_MAX + OB_SESSION_SERVICE_MAX + 2)

/* Between two times of asking for the same address. */
#define RETRY_FIRST_NS 1000000000u
#define RETRY_LAST_NS  30000000000u

enum state {
    ASLEEP,
    ASKING,
    LISTENING,
    WAITING,
    DENIED,
};

/* Ours: the peer is to listen. */
struct want {
    struct flow flow; /* while ASKING and LISTENING */
    struct list link; /* proxy.wants */
    struct proxy *proxy;
    const struct forward *forward;
    enum state state;
    uint32_t reason; /* why not, while WAITING and DENIED */
    uint32_t told;   /* the reason that the log has, since the peer last listened */
    struct timer retry;
    uint64_t retry_ns;
    char where[ADDRESS_TEXT_MAX]; /* the peer listens */
};

/* The peer's: we listen. */
struct grant {
    struct flow flow;
    struct listener *listener;
};

static const char *service_text(const struct forward *forward)
{
    return forward->service[0] ? forward->service : "where SOCKS5 clients ask for";
}

/* It is not so, or not any more. */
static void turn_down(struct want *want, uint32_t reason)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(&want->forward->listen, text);
    want->reason = reason;
    want->state = reason == OB_REASON_FORBIDDEN ? DENIED : WAITING;
    if (want->told != reason)
        proxy_log("the other end does not listen at %s: %s%s", text, reason_text(reason),
                  want->state == DENIED ? "; start it with --allow-listen" : "; trying again");
    want->told = reason;
    if (want->state == DENIED)
        return;
    timer_set(&want->proxy->timers, &want->retry, clock_now_ns() + want->retry_ns);
    want->retry_ns = 2 * want->retry_ns < RETRY_LAST_NS ? 2 * want->retry_ns : RETRY_LAST_NS;
}

/* The end of a session is told elsewhere; the next one asks again. */
static bool is_of_session(uint32_t reason)
{
    return reason >= OB_REASON_TRANSPORT && reason < OB_REASON_APPLICATION;
}

static void want_over(struct flow *flow, uint32_t reason)
{
    struct want *want = list_entry(flow, struct want, flow);
    flow_end(flow, OB_REASON_NONE);
    if (is_of_session(reason) || reason == OB_REASON_SHUTDOWN)
        want->state = ASLEEP;
    else
        turn_down(want, reason);
}

/* Where it listens. Bytes of a peer behind that are of no use. */
static void take_where(struct want *want, const char *text, size_t len)
{
    if (want->state == LISTENING)
        return;
    memcpy(want->where, text, len);
    want->where[len] = '\0';
    want->where[strcspn(want->where, "\n")] = '\0';
    want->state = LISTENING;
    want->told = OB_REASON_NONE;
    want->retry_ns = RETRY_FIRST_NS;
    proxy_log("the other end listens at %s for %s", want->where, service_text(want->forward));
}

/* Reads all bytes that are there: nothing is told again before. */
static void want_readable(struct flow *flow)
{
    struct want *want = list_entry(flow, struct want, flow);
    char text[ADDRESS_TEXT_MAX - 1];
    ssize_t len;
    while ((len = ob_stream_read(flow->stream, text, sizeof(text))) > 0)
        take_where(want, text, (size_t)len);
    if (len == 0)
        want_over(flow, OB_REASON_CANCELLED);
}

static const struct flow_ops want_ops = {
    .refused = want_over,
    .readable = want_readable,
    .reset = want_over,
};

static void ask(struct want *want)
{
    char metadata[TEXT_MAX], address[ADDRESS_TEXT_MAX];
    const struct forward *forward = want->forward;
    address_format(&forward->listen, address);
    snprintf(metadata, sizeof(metadata), "%s%s%s", address, forward->service[0] ? " " : "",
             forward->service);
    int err = flow_open(&want->flow, want->proxy, &want_ops, REMOTE_SERVICE, metadata);
    want->state = err == -ENOTCONN ? ASLEEP : ASKING;
    if (err < 0 && err != -ENOTCONN)
        turn_down(want, reason_of_errno(err));
}

static void on_retry(void *argument)
{
    struct want *want = argument;
    if (want->state == WAITING)
        ask(want);
}

int remote_init(struct proxy *proxy)
{
    const struct forwards *remote = &proxy->options->remote;
    for (size_t i = 0; i < remote->count; i++) {
        struct want *want = calloc(1, sizeof(*want));
        if (!want)
            return -ENOMEM;
        want->proxy = proxy;
        want->forward = &remote->forward[i];
        timer_init(&want->retry, on_retry, want);
        list_init(&want->link);
        list_append(&proxy->wants, &want->link);
    }
    return 0;
}

void remote_done(struct proxy *proxy)
{
    struct list *next;
    for (struct list *link = proxy->wants.next; link != &proxy->wants; link = next) {
        struct want *want = list_entry(link, struct want, link);
        next = link->next;
        timer_cancel(&want->retry);
        if (want->state == ASKING || want->state == LISTENING)
            flow_end(&want->flow, OB_REASON_NONE);
        free(want);
    }
    list_init(&proxy->wants);
}

void remote_on_up(struct proxy *proxy)
{
    for (struct list *link = proxy->wants.next; link != &proxy->wants; link = link->next) {
        struct want *want = list_entry(link, struct want, link);
        timer_cancel(&want->retry);
        want->retry_ns = RETRY_FIRST_NS;
        ask(want);
    }
}

void remote_each(const struct proxy *proxy, remote_view_fn see, void *argument)
{
    for (const struct list *link = proxy->wants.next; link != &proxy->wants; link = link->next) {
        const struct want *want = list_entry(link, struct want, link);
        struct remote_view view = {.service = service_text(want->forward),
                                   .listens = want->state == LISTENING,
                                   .why = "no session stands"};
        if (want->state == ASKING)
            view.why = "asked for";
        else if (want->state == WAITING || want->state == DENIED)
            view.why = reason_text(want->reason);
        address_format(&want->forward->listen, view.address);
        if (view.listens)
            memcpy(view.address, want->where, sizeof(view.address));
        see(argument, &view);
    }
}

static void grant_over(struct flow *flow, uint32_t reason)
{
    struct grant *grant = list_entry(flow, struct grant, flow);
    listener_free(grant->listener);
    flow_end(flow, OB_REASON_NONE);
    free(grant);
}

static void grant_readable(struct flow *flow)
{
    const void *bytes;
    ssize_t len = ob_stream_peek(flow->stream, &bytes);
    if (len >= 0) /* nothing was agreed on but that the peer may end it */
        grant_over(flow, OB_REASON_NONE);
}

static const struct flow_ops grant_ops = {
    .readable = grant_readable,
    .reset = grant_over,
};

/* ADDRESS[ SERVICE], of any bytes. 0 or -EINVAL. */
static int parse(const struct ob_open *open, struct forward *ret_forward)
{
    char text[TEXT_MAX];
    struct ob_fault fault = {0};
    struct address address;
    if (open->metadata_len >= sizeof(text) || memchr(open->metadata, '\0', open->metadata_len))
        return -EINVAL;
    memcpy(text, open->metadata, open->metadata_len);
    text[open->metadata_len] = '\0';
    char *space = strchr(text, ' ');
    if (space)
        *space = '\0';
    if (space && strlen(space + 1) > OB_SESSION_SERVICE_MAX)
        return -EINVAL;
    if (address_parse(text, &address, &fault) < 0 || address.kind == ADDRESS_VSOCK)
        return -EINVAL;
    *ret_forward = (struct forward){.listen = address};
    if (space)
        memcpy(ret_forward->service, space + 1, strlen(space + 1) + 1);
    return 0;
}

bool remote_may_listen(const struct proxy_options *options, const struct address *address)
{
    struct sockaddr_storage kernel;
    if (address_to_kernel(address, &kernel) < 0)
        return false; /* a name */
    return options->trust_peer || rules_allow(&options->listen, NULL, NULL, address);
}

static unsigned count_grants(const struct proxy *proxy)
{
    unsigned count = 0;
    for (struct list *link = proxy->flows.next; link != &proxy->flows; link = link->next)
        count += list_entry(link, struct flow, link)->ops == &grant_ops;
    return count;
}

/* Once for an address, since the peer asks for it again and again. */
static void tell_failure(struct proxy *proxy, const struct forward *forward, int err)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(&forward->listen, text);
    if (strcmp(proxy->not_listening, text) != 0)
        proxy_log("can't listen at %s, as the other end asked: %s", text, strerror(-err));
    memcpy(proxy->not_listening, text, sizeof(proxy->not_listening));
}

/* 0, or a reason. */
static uint32_t try_grant(struct proxy *proxy, struct ob_stream *stream,
                          const struct forward *forward)
{
    char text[ADDRESS_TEXT_MAX];
    struct listener *listener;
    if (count_grants(proxy) >= LIMIT_PEER_LISTENERS)
        return OB_REASON_BUSY;
    int err = listener_new(proxy, forward, &listener);
    if (err < 0) {
        tell_failure(proxy, forward, err);
        return reason_of_listen_errno(err);
    }
    struct grant *grant = calloc(1, sizeof(*grant));
    if (!grant || flow_take(&grant->flow, proxy, &grant_ops, stream, REMOTE_SERVICE) < 0) {
        listener_free(listener);
        free(grant);
        return OB_REASON_NO_MEMORY;
    }
    grant->listener = listener;
    listener_address(grant->listener, text);
    proxy->not_listening[0] = '\0';
    ob_stream_accept(stream);
    ob_stream_write(stream, text, strlen(text));
    ob_stream_write(stream, "\n", 1);
    proxy_log("listening at %s, as the other end asked, for %s", text, service_text(forward));
    return OB_REASON_NONE;
}

void remote_incoming(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open)
{
    struct forward forward;
    uint32_t reason = OB_REASON_UNREACHABLE;
    if (parse(open, &forward) == 0)
        reason = remote_may_listen(proxy->options, &forward.listen)
                     ? try_grant(proxy, stream, &forward)
                     : OB_REASON_FORBIDDEN;
    if (reason != OB_REASON_NONE)
        ob_stream_refuse(stream, reason);
}
