// SPDX-License-Identifier: BSD-3-Clause
/*
 * A caller is a stream of the peer. Its requests are carried out one after the other: while an answer
 * has not gone into the stream, no byte more is taken, so that a caller that does not read its answers
 * costs one request, one answer and the window of its stream.
 *
 * Nothing here touches more than memory and the readers of events. Text of the peer reaches a reader as
 * JSON that is written again, in ASCII.
 */
#include "proxy/host_service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/limits.h"
#include "os/clock.h"
#include "proxy/events.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"
#include "wire/json_frame.h"
#include "wire/qmp.h"

#define NS_PER_MS   1000000u
#define ERROR_LEN   300
#define BOOT_ID_LEN 36
#define HELLO_TEXT  64 /* bytes of a boot id or version of the peer */

struct host_service {
    struct proxy *proxy;
    struct events *events;
    struct list callers;
    unsigned count;
    uint64_t paid_until_ns; /* of the events so far, at their rate */
    char boot_id[BOOT_ID_LEN +
                 1]; /* ours, drawn at start: the machine's would show guests that they share it */
    char peer_boot_id[HELLO_TEXT + 1]; /* empty: it has said none in this session */
};

struct caller {
    struct flow flow;
    struct host_service *service;
    struct list link; /* service.callers */
    struct json_frame frame;
    struct json_out out;
    size_t out_at;
};

struct request {
    const struct json *arguments;
    const struct json *id;
    struct json_out *out; /* of the answer */
};

static void fail(const struct request *request, const char *text)
{
    qmp_put_error(request->out, QMP_GENERIC, text, strlen(text), request->id);
}

static void succeed(const struct request *request)
{
    qmp_put_return(request->out, "{}", 2, request->id);
}

/* The text of a member that is short and plain; NULL: it is not. */
static const char *plain_text(const struct json *arguments, const char *name, size_t max)
{
    const struct json *value = json_member(arguments, name);
    if (!value || value->type != JSON_STRING || value->text.len == 0 || value->text.len > max)
        return NULL;
    for (size_t i = 0; i < value->text.len; i++) {
        char byte = value->text.bytes[i];
        if ((byte < '0' || byte > '9') && (byte < 'A' || byte > 'Z') &&
            (byte < 'a' || byte > 'z') && !strchr("-_.+~", byte))
            return NULL;
    }
    return value->text.bytes;
}

/* Whether another event may be told now. */
static bool take_token(struct host_service *service)
{
    const uint64_t step = (uint64_t)LIMIT_EVENT_REFILL_MS * NS_PER_MS;
    uint64_t now = clock_now_ns();
    if (service->paid_until_ns < now)
        service->paid_until_ns = now;
    if (service->paid_until_ns - now > (LIMIT_EVENT_BURST - 1) * step)
        return false;
    service->paid_until_ns += step;
    return true;
}

static uint64_t wall_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

/* Tells an event to the readers. False: it is too long. */
static bool tell(struct host_service *service, const char *event, const struct json *data)
{
    struct json_out line;
    json_out_init(&line, LIMIT_EVENT_LINE);
    json_out_begin(&line, '{');
    json_out_member_string(&line, "event", event);
    json_out_member_uint(&line, "time-ms", wall_clock_ms());
    if (service->peer_boot_id[0])
        json_out_member_string(&line, "boot-id", service->peer_boot_id);
    if (data) {
        json_out_name(&line, "data");
        json_out_value(&line, data);
    }
    json_out_end(&line, '}');
    json_out_bytes(&line, "\n", 1);
    bool fits = json_out_done(&line) == 0;
    if (fits)
        events_tell(service->events, line.bytes, line.len);
    json_out_free(&line);
    return fits;
}

static void do_ping(struct host_service *service, const struct request *request)
{
    if (request->arguments && request->arguments->first)
        fail(request, "host-ping: got arguments, expected none");
    else
        succeed(request);
}

static void do_event(struct host_service *service, const struct request *request)
{
    const char *event = plain_text(request->arguments, "event", LIMIT_EVENT_NAME);
    const struct json *data = json_member(request->arguments, "data");
    char text[ERROR_LEN];
    if (!event || strcmp(event, "hello") == 0 || strcmp(event, "lost") == 0) {
        snprintf(text, sizeof(text),
                 "event: expected a name of 1 to %d letters, digits, '-', '_' or '.', "
                 "but not hello or lost",
                 LIMIT_EVENT_NAME);
        fail(request, text);
    } else if (data && data->type != JSON_OBJECT) {
        fail(request, "data: expected an object");
    } else if (!take_token(service)) {
        snprintf(text, sizeof(text), "too many events: %d may come at once, then one each %d ms",
                 LIMIT_EVENT_BURST, LIMIT_EVENT_REFILL_MS);
        fail(request, text);
    } else if (!tell(service, event, data)) {
        snprintf(text, sizeof(text), "the event is too long: its line may have %d bytes",
                 LIMIT_EVENT_LINE);
        fail(request, text);
    } else {
        succeed(request);
    }
}

static void put_hello(const struct host_service *service, const struct request *request);

static void do_hello(struct host_service *service, const struct request *request)
{
    const char *boot_id = plain_text(request->arguments, "boot-id", HELLO_TEXT);
    const struct json *capabilities = json_member(request->arguments, "capabilities");
    if (!boot_id || !plain_text(request->arguments, "version", HELLO_TEXT) || !capabilities ||
        capabilities->type != JSON_ARRAY) {
        fail(request,
             "host-hello: expected boot-id and version, plain texts, and capabilities, an array");
    } else if (!take_token(service)) {
        fail(request, "too many events; try again later");
    } else {
        snprintf(service->peer_boot_id, sizeof(service->peer_boot_id), "%s", boot_id);
        if (tell(service, "hello", request->arguments))
            put_hello(service, request);
        else
            fail(request, "the hello is too long");
    }
}

static const struct command {
    const char *name;
    void (*run)(struct host_service *service, const struct request *request);
} commands[] = {
    {"host-hello", do_hello},
    {"host-ping", do_ping},
    {"host-event", do_event},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* Version and commands of this end. */
static void put_hello(const struct host_service *service, const struct request *request)
{
    struct json_out value;
    json_out_init(&value, LIMIT_EVENT_LINE);
    json_out_begin(&value, '{');
    json_out_member_string(&value, "boot-id", service->boot_id);
    json_out_member_string(&value, "version", OUTBOARD_VERSION);
    json_out_name(&value, "capabilities");
    json_out_begin(&value, '[');
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        json_out_string(&value, commands[i].name);
    json_out_end(&value, ']');
    json_out_end(&value, '}');
    if (json_out_done(&value) < 0)
        fail(request, "out of memory");
    else
        qmp_put_return(request->out, value.bytes, value.len, request->id);
    json_out_free(&value);
}

static void carry_out(struct host_service *service, const struct json *root, struct json_out *out)
{
    char text[ERROR_LEN];
    const struct request request = {json_member(root, "arguments"), json_member(root, "id"), out};
    const char *wrong = qmp_check_request(root, text, sizeof(text));
    if (wrong) {
        fail(&request, wrong);
        return;
    }
    const struct json *name = json_member(root, "execute");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (json_is_text(name, commands[i].name)) {
            commands[i].run(service, &request);
            return;
        }
    }
    snprintf(text, sizeof(text), "The command %.200s has not been found", name->text.bytes);
    qmp_put_error(out, QMP_NOT_FOUND, text, strlen(text), request.id);
}

static void take_value(struct caller *caller)
{
    const struct json_frame *frame = &caller->frame;
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(frame->bytes, frame->len, &document, &fault) < 0) {
        qmp_put_fault(&caller->out, frame->offset - frame->len + fault.offset, fault.text);
        return;
    }
    carry_out(caller->service, json_root(document), &caller->out);
    json_free(document);
}

static void destroy(struct caller *caller, uint32_t reason)
{
    caller->service->count--;
    list_remove(&caller->link);
    json_frame_done(&caller->frame);
    json_out_free(&caller->out);
    flow_end(&caller->flow, reason);
    free(caller);
}

/* Whether all of the answers is in the stream. */
static bool flush(struct caller *caller)
{
    struct json_out *out = &caller->out;
    while (caller->out_at < out->len) {
        ssize_t put = ob_stream_write(caller->flow.stream, out->bytes + caller->out_at,
                                      out->len - caller->out_at);
        if (put <= 0)
            return false;
        caller->out_at += (size_t)put;
    }
    json_out_free(out);
    caller->out_at = 0;
    return true;
}

static void advance(struct caller *caller)
{
    const void *bytes;
    ssize_t len;
    if (!flush(caller))
        return;
    while ((len = ob_stream_peek(caller->flow.stream, &bytes)) > 0) {
        enum json_frame_event event;
        size_t taken = json_frame_take(&caller->frame, bytes, (size_t)len, &event);
        ob_stream_consume(caller->flow.stream, taken);
        if (event == JSON_FRAME_VALUE)
            take_value(caller);
        else if (event == JSON_FRAME_FAULT)
            qmp_put_fault(&caller->out, caller->frame.fault_at, caller->frame.fault);
        if (json_out_done(&caller->out) < 0) {
            destroy(caller, OB_REASON_NO_MEMORY);
            return;
        }
        if (!flush(caller))
            return;
    }
    if (len != 0)
        return;
    ob_stream_shutdown(caller->flow.stream);
    destroy(caller, OB_REASON_NONE);
}

static void on_event(struct flow *flow)
{
    advance(list_entry(flow, struct caller, flow));
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    destroy(list_entry(flow, struct caller, flow), OB_REASON_NONE);
}

static const struct flow_ops ops = {.readable = on_event, .writable = on_event, .reset = on_reset};

void host_service_open(struct proxy *proxy, struct ob_stream *stream)
{
    struct host_service *service = proxy->agent.host;
    if (!service || service->count >= LIMIT_HOST_CALLERS) {
        ob_stream_refuse(stream, service ? OB_REASON_BUSY : OB_REASON_NO_SERVICE);
        return;
    }
    struct caller *caller = calloc(1, sizeof(*caller));
    if (!caller || flow_take(&caller->flow, proxy, &ops, stream, HOST_SERVICE) < 0) {
        ob_stream_refuse(stream, OB_REASON_NO_MEMORY);
        free(caller);
        return;
    }
    caller->service = service;
    caller->frame.max = LIMIT_HOST_REQUEST;
    json_out_init(&caller->out, 2 * LIMIT_HOST_REQUEST);
    list_init(&caller->link);
    list_append(&service->callers, &caller->link);
    service->count++;
    if (ob_stream_accept(stream) < 0)
        destroy(caller, OB_REASON_FAILED);
}

void host_service_forget_peer(struct host_service *service)
{
    if (service)
        service->peer_boot_id[0] = '\0';
}

/* As the kernel writes its own. */
static void draw_boot_id(char ret_text[BOOT_ID_LEN + 1])
{
    uint8_t bytes[16] = {0};
    size_t len = 0;
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        memset(bytes, 0, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        len += (size_t)snprintf(ret_text + len, BOOT_ID_LEN + 1 - len, "%s%02x",
                                i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

int host_service_new(struct proxy *proxy, struct host_service **ret_service, struct ob_fault *fault)
{
    const char *where = proxy->options->events;
    *ret_service = NULL;
    if (!where)
        return 0;
    struct host_service *service = calloc(1, sizeof(*service));
    if (!service)
        return ob_fault_set(fault, -ENOMEM, "no memory for --events");
    service->proxy = proxy;
    list_init(&service->callers);
    draw_boot_id(service->boot_id);
    int err = events_new(proxy, where, &service->events, fault);
    if (err < 0)
        free(service);
    else
        *ret_service = service;
    return err;
}

void host_service_free(struct host_service *service)
{
    if (!service)
        return;
    while (!list_empty(&service->callers))
        destroy(list_entry(service->callers.next, struct caller, link), OB_REASON_SHUTDOWN);
    events_free(service->events);
    free(service);
}
