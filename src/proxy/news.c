// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/news.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "os/clock.h"
#include "proxy/flow.h"
#include "proxy/host_service.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "wire/json_out.h"

#define NS_PER_MS 1000000u

struct news {
    struct proxy *proxy;
    struct flow flow;    /* without a stream: the host is not there, or wants none */
    unsigned unanswered; /* requests */
    bool ends;           /* the farewell was said */
    struct timer farewell;
};

static void begin_request(struct json_out *out, const char *command)
{
    json_out_begin(out, '{');
    json_out_member_string(out, "execute", command);
    json_out_name(out, "arguments");
    json_out_begin(out, '{');
}

static void end_request(struct json_out *out)
{
    json_out_end(out, '}');
    json_out_end(out, '}');
    json_out_bytes(out, "\n", 1);
    out->needs_comma = false;
}

static void put_hello(const struct proxy *proxy, struct json_out *out)
{
    const char *capabilities = proxy->agent.capabilities;
    begin_request(out, "host-hello");
    json_out_member_string(out, "boot-id", proxy->options->boot_id);
    json_out_member_string(out, "version", OUTBOARD_VERSION);
    json_out_name(out, "capabilities");
    json_out_raw(out, capabilities ? capabilities : "[]", capabilities ? strlen(capabilities) : 2);
    end_request(out);
}

static void put_event(struct json_out *out, const char *event)
{
    begin_request(out, "host-event");
    json_out_member_string(out, "event", event);
    end_request(out);
}

static void stop(struct news *news)
{
    timer_cancel(&news->farewell);
    if (news->ends)
        news->proxy->stop = true;
}

/* The host has gone, or wants no news. */
static void end(struct news *news)
{
    flow_end(&news->flow, OB_REASON_NONE);
    stop(news);
}

/* The texts are short, and the stream takes all of them. */
static bool say(struct news *news, const struct json_out *out, unsigned requests)
{
    if (json_out_done(out) < 0 ||
        ob_stream_write(news->flow.stream, out->bytes, out->len) != (ssize_t)out->len)
        return false;
    news->unanswered += requests;
    return true;
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    struct news *news = list_entry(flow, struct news, flow);
    proxy_log_verbose(news->proxy, "%s: refused: %s", HOST_SERVICE, reason_text(reason));
    end(news);
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    end(list_entry(flow, struct news, flow));
}

/* Answers are lines, which are only counted. */
static void on_readable(struct flow *flow)
{
    struct news *news = list_entry(flow, struct news, flow);
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(flow->stream, &bytes)) > 0) {
        for (ssize_t i = 0; i < len; i++)
            news->unanswered -= news->unanswered > 0 && ((const char *)bytes)[i] == '\n';
        ob_stream_consume(flow->stream, (size_t)len);
    }
    if (len == 0)
        end(news);
    else if (news->unanswered == 0)
        stop(news);
}

static const struct flow_ops ops = {
    .refused = on_refused, .readable = on_readable, .reset = on_reset};

void news_on_up(struct news *news)
{
    struct json_out out;
    if (!news || !news->proxy->agent.connect)
        return;
    if (news->flow.stream)
        flow_end(&news->flow, OB_REASON_NONE);
    news->unanswered = 0;
    if (flow_open(&news->flow, news->proxy, &ops, HOST_SERVICE, NULL) < 0)
        return;
    json_out_init(&out, LIMIT_HOST_REQUEST);
    put_hello(news->proxy, &out);
    put_event(&out, "ready");
    if (!say(news, &out, 2))
        flow_end(&news->flow, OB_REASON_CANCELLED);
    json_out_free(&out);
}

static void on_farewell_due(void *argument)
{
    stop(argument);
}

bool news_say_farewell(struct news *news)
{
    struct json_out out;
    if (!news || !news->flow.stream || news->ends)
        return false;
    json_out_init(&out, LIMIT_HOST_REQUEST);
    put_event(&out, "shutting-down");
    news->ends = say(news, &out, 1);
    json_out_free(&out);
    if (news->ends)
        timer_set(&news->proxy->timers, &news->farewell,
                  clock_now_ns() + (uint64_t)LIMIT_FAREWELL_MS * NS_PER_MS);
    return news->ends;
}

int news_new(struct proxy *proxy, struct news **ret_news)
{
    struct news *news = calloc(1, sizeof(*news));
    if (!news)
        return -ENOMEM;
    news->proxy = proxy;
    list_init(&news->flow.link);
    timer_init(&news->farewell, on_farewell_due, news);
    *ret_news = news;
    return 0;
}

void news_free(struct news *news)
{
    if (!news)
        return;
    timer_cancel(&news->farewell);
    if (news->flow.stream)
        flow_end(&news->flow, OB_REASON_NONE);
    free(news);
}
