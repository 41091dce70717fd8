// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "os/clock.h"
#include "proxy/channel.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"
#include "proxy/remote.h"

#define STATE_MAX (TROUBLE_MAX + CHANNEL_TEXT_MAX + 100)

/* A string in JSON. Bytes that are no ASCII text are a peer's mischief, and shown as such. */
static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < ' ' || byte > '~')
            fprintf(out, "\\u%04x", byte);
        else if (byte == '"' || byte == '\\')
            fprintf(out, "\\%c", byte);
        else
            fputc(byte, out);
    }
    fputc('"', out);
}

static void put_safely(FILE *out, const char *text)
{
    for (; *text; text++)
        fputc(*text >= ' ' && *text <= '~' ? *text : '?', out);
}

static void put_stream_json(FILE *out, const struct flow *flow)
{
    struct ob_stream_stats stats;
    ob_stream_stats(flow->stream, &stats);
    fprintf(out, "{\"id\": %" PRIu64 ", \"service\": ", ob_stream_id(flow->stream));
    put_string(out, flow->service);
    fprintf(out,
            ", \"opened_by\": \"%s\", \"bytes_received\": %" PRIu64 ", \"bytes_sent\": %" PRIu64
            ", \"unread\": %" PRIu64 ", \"unsent\": %" PRIu64 ", \"credit\": %" PRIu64
            ", \"window\": %" PRIu64 "}",
            flow->is_incoming ? "peer" : "us", stats.bytes_received, stats.bytes_sent, stats.unread,
            stats.unsent, stats.credit, stats.window);
}

/* The state now. */
static void describe(const struct proxy *proxy, char ret_text[STATE_MAX])
{
    const char *channel = proxy->options->channel.text;
    uint64_t tag = ob_session_tag(proxy->session);
    if (tag)
        snprintf(ret_text, STATE_MAX, "up: session %016" PRIx64 " over %s, for %" PRIu64 " s", tag,
                 channel, (clock_now_ns() - proxy->history.up_since_ns) / 1000000000u);
    else if (proxy->trouble.text[0])
        snprintf(ret_text, STATE_MAX, "down: %s", proxy->trouble.text);
    else
        channel_describe(proxy->channel, ret_text + snprintf(ret_text, STATE_MAX, "down: "),
                         STATE_MAX - strlen("down: "));
}

struct json_list {
    FILE *out;
    const char *separator;
};

static void put_remote_json(void *argument, const struct remote_view *view)
{
    struct json_list *list = argument;
    FILE *out = list->out;
    fprintf(out, "%s{\"address\": ", list->separator);
    list->separator = ", ";
    put_string(out, view->address);
    fputs(", \"service\": ", out);
    put_string(out, view->service);
    fprintf(out, ", \"listens\": %s, \"why\": ", view->listens ? "true" : "false");
    put_string(out, view->listens ? "" : view->why);
    fputc('}', out);
}

static void put_remote_line(void *out, const struct remote_view *view)
{
    fputs("remote       ", out);
    put_safely(out, view->address);
    fprintf(out, " for %s: %s%s\n", view->service,
            view->listens ? "the other end listens" : "not yet: ", view->listens ? "" : view->why);
}

static void put_json(FILE *out, const struct proxy *proxy, const struct ob_session_stats *stats)
{
    char state[STATE_MAX];
    uint64_t tag = ob_session_tag(proxy->session);
    describe(proxy, state);
    fputs("{\"state\": ", out);
    put_string(out, state);
    fputs(", \"remote\": [", out);
    struct json_list remotes = {.out = out, .separator = ""};
    remote_each(proxy, put_remote_json, &remotes);
    fprintf(out, "], \"up\": %s, \"tag\": \"%016" PRIx64 "\", \"up_seconds\": %" PRIu64 ", ",
            tag ? "true" : "false", tag,
            tag ? (clock_now_ns() - proxy->history.up_since_ns) / 1000000000u : 0);
    fprintf(out,
            "\"sessions\": %" PRIu64 ", \"round_trip_ns\": %" PRIu64
            ", \"bytes_received\": %" PRIu64 ", \"bytes_transmitted\": %" PRIu64
            ", \"frames_received\": %" PRIu64 ", \"frames_transmitted\": %" PRIu64
            ", \"frames_dropped\": %" PRIu64 ", \"frames_damaged\": %" PRIu64
            ", \"buffered_bytes\": %" PRIu64 ", \"streams_blocked\": %" PRIu32 ", \"streams\": [",
            proxy->history.sessions, stats->round_trip_ns, stats->bytes_received,
            stats->bytes_transmitted, stats->frames_received, stats->frames_transmitted,
            stats->frames_dropped, stats->frames_damaged, stats->buffered_bytes,
            stats->streams_blocked);
    for (struct list *link = proxy->flows.next; link != &proxy->flows; link = link->next) {
        fputs(link == proxy->flows.next ? "" : ", ", out);
        put_stream_json(out, list_entry(link, struct flow, link));
    }
    fputs("]}\n", out);
}

static void put_stream_line(FILE *out, const struct flow *flow)
{
    struct ob_stream_stats stats;
    ob_stream_stats(flow->stream, &stats);
    fprintf(out, "%8" PRIu64 "  %-4s  %12" PRIu64 "  %12" PRIu64 "  %9" PRIu64 "  %9" PRIu64 "  ",
            ob_stream_id(flow->stream), flow->is_incoming ? "peer" : "us", stats.bytes_received,
            stats.bytes_sent, stats.unread, stats.credit);
    put_safely(out, flow->service);
    fputc('\n', out);
}

static void put_lines(FILE *out, const struct proxy *proxy, const struct ob_session_stats *stats)
{
    char state[STATE_MAX];
    describe(proxy, state);
    put_safely(out, state);
    fputc('\n', out);
    remote_each(proxy, put_remote_line, out);
    if (proxy->history.sessions > 0)
        fprintf(out, "sessions     %" PRIu64 "; the last one that ended: %s\n",
                proxy->history.sessions, ob_reason_text(proxy->history.ended_reason));
    fprintf(out, "round trip   %.1f us\n", (double)stats->round_trip_ns / 1000);
    fprintf(out, "received     %" PRIu64 " bytes, %" PRIu64 " frames\n", stats->bytes_received,
            stats->frames_received);
    fprintf(out, "transmitted  %" PRIu64 " bytes, %" PRIu64 " frames\n", stats->bytes_transmitted,
            stats->frames_transmitted);
    fprintf(out, "dropped      %" PRIu64 " frames, %" PRIu64 " damaged\n", stats->frames_dropped,
            stats->frames_damaged);
    fprintf(out, "streams      %" PRIu32 ", %" PRIu32 " without credit, %" PRIu64 " bytes held\n",
            stats->streams, stats->streams_blocked, stats->buffered_bytes);
    if (list_empty(&proxy->flows))
        return;
    fputs("\n  stream  from      received          sent     unread     credit  service\n", out);
    for (struct list *link = proxy->flows.next; link != &proxy->flows; link = link->next)
        put_stream_line(out, list_entry(link, struct flow, link));
}

char *status_text(const struct proxy *proxy, bool json, size_t *ret_len)
{
    struct ob_session_stats stats;
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    if (!out)
        return NULL;
    ob_session_stats(proxy->session, &stats);
    if (json)
        put_json(out, proxy, &stats);
    else
        put_lines(out, proxy, &stats);
    fclose(out);
    return text;
}
