// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "proxy/flow.h"
#include "proxy/listener.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"

#define TEXT_MAX (ADDRESS_TEXT_MAX + OB_SESSION_SERVICE_MAX + 2)

/* Ours: the peer listens. */
struct request {
    struct flow flow;
    const struct forward *forward;
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

static void request_over(struct flow *flow, uint32_t reason)
{
    struct request *request = list_entry(flow, struct request, flow);
    char text[ADDRESS_TEXT_MAX];
    address_format(&request->forward->listen, text);
    if (reason < OB_REASON_TRANSPORT) /* the end of a session is told elsewhere */
        proxy_log("the other end does not listen at %s: %s", text, ob_reason_text(reason));
    flow_end(flow, OB_REASON_NONE);
    free(request);
}

static void request_readable(struct flow *flow)
{
    struct request *request = list_entry(flow, struct request, flow);
    char text[ADDRESS_TEXT_MAX];
    ssize_t len = ob_stream_read(flow->stream, text, sizeof(text) - 1);
    if (len == 0) {
        request_over(flow, OB_REASON_CANCELLED);
        return;
    }
    if (len < 0)
        return;
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    proxy_log("the other end listens at %s for %s", text, service_text(request->forward));
}

static const struct flow_ops request_ops = {
    .refused = request_over,
    .readable = request_readable,
    .reset = request_over,
};

void remote_request(struct proxy *proxy, const struct forward *forward)
{
    char metadata[TEXT_MAX], address[ADDRESS_TEXT_MAX];
    struct request *request = malloc(sizeof(*request));
    address_format(&forward->listen, address);
    snprintf(metadata, sizeof(metadata), "%s%s%s", address, forward->service[0] ? " " : "",
             forward->service);
    int err = request ? flow_open(&request->flow, proxy, &request_ops, REMOTE_SERVICE, metadata)
                      : -ENOMEM;
    if (err < 0) {
        proxy_log("can't ask the other end to listen at %s: %s", address, strerror(-err));
        free(request);
        return;
    }
    request->forward = forward;
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

static bool is_allowed(const struct proxy *proxy, const struct address *address)
{
    const struct proxy_options *options = proxy->options;
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

/* 0, or a reason. */
static uint32_t try_grant(struct proxy *proxy, struct ob_stream *stream,
                          const struct forward *forward)
{
    char text[ADDRESS_TEXT_MAX];
    struct listener *listener;
    if (count_grants(proxy) >= LIMIT_PEER_LISTENERS)
        return OB_REASON_BUSY;
    int err = listener_new(proxy, forward, &listener);
    if (err < 0)
        return reason_of_errno(err);
    struct grant *grant = calloc(1, sizeof(*grant));
    if (!grant || flow_take(&grant->flow, proxy, &grant_ops, stream, REMOTE_SERVICE) < 0) {
        listener_free(listener);
        free(grant);
        return OB_REASON_NO_MEMORY;
    }
    grant->listener = listener;
    listener_address(grant->listener, text);
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
        reason = is_allowed(proxy, &forward.listen) ? try_grant(proxy, stream, &forward)
                                                    : OB_REASON_FORBIDDEN;
    if (reason != OB_REASON_NONE)
        ob_stream_refuse(stream, reason);
}
