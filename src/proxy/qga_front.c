// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest-sync-delimited with a random number of ours follows each request. All bytes of qemu-ga up to
 * FF and that number are the answer, which may be empty; they go to the client of the request, if that
 * is still there. So no client ever reads the answer of another, whatever was under way when one
 * vanished.
 *
 * The clients take turns by requests: one that has been answered goes to the end of the list.
 */
#include "proxy/qga_front.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/acceptor.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"
#include "proxy/qga_client.h"
#include "proxy/reason.h"

#define SYNC_LEN   120
#define MARK_MAX   256 /* of the line behind FF; a longer one is not ours */
#define MARK_BYTE  '\xff'
#define NUMBER_MAX 0x1fffffffffffff /* that all JSON parsers know */

struct qga_front {
    struct proxy *proxy;
    struct acceptor *acceptor;
    struct list clients; /* the next one is the first */
    unsigned count;
    struct flow flow;         /* without a stream: qemu-ga is not connected */
    struct qga_client *asker; /* NULL: no request, or its client has gone */
    bool busy;                /* an answer is awaited */
    char *out;                /* lent to the stream */
    int64_t number;           /* of the last sync */
    char mark[MARK_MAX];      /* FF and the bytes behind it so far */
    size_t mark_len;          /* 0: no FF was seen */
    struct timer again;       /* for requests that came while others were refused */
};

static void next_turn(struct qga_front *front);

static void drop_client(struct qga_front *front, struct qga_client *client)
{
    if (front->asker == client)
        front->asker = NULL;
    front->count--;
    qga_client_free(client);
}

static void on_client(void *argument, struct qga_client *client, bool gone)
{
    struct qga_front *front = argument;
    if (gone)
        drop_client(front, client);
    else if (!front->busy)
        next_turn(front);
}

/* The first client with a request that waits, or NULL. */
static struct qga_client *find_waiting(const struct qga_front *front)
{
    for (struct list *link = front->clients.next; link != &front->clients; link = link->next) {
        struct qga_client *client = list_entry(link, struct qga_client, link);
        if (client->has_request)
            return client;
    }
    return NULL;
}

/* Writes a request, or nothing, and a sync behind it. */
static int ask(struct qga_front *front, const char *request, size_t len)
{
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return -EIO;
    free(front->out);
    front->out = malloc(len + SYNC_LEN);
    if (!front->out)
        return -ENOMEM;
    front->number = (int64_t)(number & NUMBER_MAX);
    front->mark_len = 0;
    memcpy(front->out, request, len);
    len += (size_t)snprintf(
        front->out + len, SYNC_LEN,
        "\n{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": %" PRId64 "}}\n",
        front->number);
    front->busy = true;
    return ob_stream_lend(front->flow.stream, front->out, len);
}

/* Answers each request that waits with an error. A client may have a further one at once; that has to
 * wait for the next round of the loop. */
static void refuse_all(struct qga_front *front, const char *why)
{
    char text[200];
    struct qga_client *client;
    snprintf(text, sizeof(text), "the guest's agent can't be reached: %.150s", why);
    front->busy = true;
    for (unsigned i = front->count; i > 0 && (client = find_waiting(front)); i--) {
        list_remove(&client->link);
        list_append(&front->clients, &client->link);
        qga_client_put_error(client, text);
        qga_client_answered(client);
    }
    front->busy = false;
    if (find_waiting(front))
        timer_set(&front->proxy->timers, &front->again, clock_now_ns());
}

static void disconnect(struct qga_front *front, uint32_t reason)
{
    if (front->flow.stream)
        flow_end(&front->flow, reason);
    free(take_ptr(&front->out));
    front->busy = false;
}

/* The stream has ended: the client of the request sees the end of its connection, and no later answer. */
static void on_lost(struct qga_front *front, const char *why)
{
    disconnect(front, OB_REASON_CANCELLED);
    if (front->asker)
        drop_client(front, front->asker);
    refuse_all(front, why);
}

static void on_answered(struct qga_front *front)
{
    struct qga_client *client = front->asker;
    front->asker = NULL;
    front->busy = false;
    if (client) {
        list_remove(&client->link);
        list_append(&front->clients, &client->link);
        qga_client_answered(client);
    }
    if (!front->busy)
        next_turn(front);
}

static void deliver(struct qga_front *front, const char *bytes, size_t len)
{
    if (front->asker)
        qga_client_put(front->asker, bytes, len);
}

/* Whether the line behind FF answers our sync. */
static bool is_ours(const struct qga_front *front)
{
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(front->mark + 1, front->mark_len - 1, &document, &fault) < 0)
        return false;
    const struct json *value = json_member(json_root(document), "return");
    bool ours = value && value->type == JSON_INT && value->integer == front->number;
    json_free(document);
    return ours;
}

/* A byte behind FF. Whether the answer ends with it. */
static bool take_mark_byte(struct qga_front *front, char byte)
{
    if (byte == MARK_BYTE || front->mark_len == MARK_MAX) {
        deliver(front, front->mark, front->mark_len); /* of a sync of the client's own */
        front->mark_len = 0;
    }
    if (byte != MARK_BYTE && front->mark_len == 0) {
        deliver(front, &byte, 1);
        return false;
    }
    front->mark[front->mark_len++] = byte;
    if (byte != '\n')
        return false;
    bool ours = is_ours(front);
    if (!ours)
        deliver(front, front->mark, front->mark_len);
    front->mark_len = 0;
    return ours;
}

/* Takes bytes up to the end of an answer. Returns how many; *ret_ended: whether it was there. */
static size_t take_bytes(struct qga_front *front, const char *bytes, size_t len, bool *ret_ended)
{
    *ret_ended = false;
    for (size_t at = 0; at < len;) {
        if (front->mark_len == 0) {
            const char *mark = memchr(bytes + at, (unsigned char)MARK_BYTE, len - at);
            size_t plain = mark ? (size_t)(mark - bytes) - at : len - at;
            deliver(front, bytes + at, plain);
            at += plain;
            if (!mark)
                break;
        }
        *ret_ended = take_mark_byte(front, bytes[at++]);
        if (*ret_ended)
            return at;
    }
    return len;
}

static void on_readable(struct flow *flow)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    const void *bytes;
    ssize_t len = 0;
    while (front->flow.stream && (len = ob_stream_peek(front->flow.stream, &bytes)) > 0) {
        bool ended;
        size_t taken = take_bytes(front, bytes, (size_t)len, &ended);
        ob_stream_consume(front->flow.stream, taken);
        if (ended)
            on_answered(front);
    }
    if (front->flow.stream && len == 0)
        on_lost(front, "it has ended");
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    on_lost(front, reason_text(reason));
}

static void on_writable(struct flow *flow)
{
    struct qga_front *front = list_entry(flow, struct qga_front, flow);
    free(take_ptr(&front->out));
}

static const struct flow_ops ops = {
    .refused = on_refused,
    .readable = on_readable,
    .writable = on_writable,
    .reset = on_refused,
};

/* Connects to qemu-ga. Its answers to earlier clients are dropped. */
static int connect_to_agent(struct qga_front *front)
{
    static const char reset[] = {MARK_BYTE};
    int err = flow_open(&front->flow, front->proxy, &ops, QGA_SERVICE, NULL);
    return err < 0 ? err : ask(front, reset, sizeof(reset));
}

/* Lets the next client ask. */
static void next_turn(struct qga_front *front)
{
    struct qga_client *client = find_waiting(front);
    int err = 0;
    if (!client)
        return;
    if (!front->flow.stream) {
        err = connect_to_agent(front);
    } else {
        front->asker = client;
        err = ask(front, client->frame.bytes, client->frame.len);
    }
    if (err < 0)
        on_lost(front, err == -ENOTCONN ? "no session" : strerror(-err));
}

static void on_again(void *argument)
{
    struct qga_front *front = argument;
    if (!front->busy)
        next_turn(front);
}

static void on_connection(void *argument, int fd)
{
    struct qga_front *front = argument;
    struct qga_client *client;
    if (front->count >= LIMIT_AGENT_CLIENTS) {
        socket_close(fd);
        return;
    }
    if (qga_client_new(front->proxy->loop, fd, on_client, front, &client) < 0)
        return;
    front->count++;
    list_append(&front->clients, &client->link);
}

int qga_front_new(struct proxy *proxy, struct qga_front **ret_front, struct ob_fault *fault)
{
    const char *path = proxy->options->stock_qga;
    struct address address;
    *ret_front = NULL;
    if (!path)
        return 0;
    struct qga_front *front = calloc(1, sizeof(*front));
    if (!front)
        return ob_fault_set(fault, -ENOMEM, "no memory for --stock-qga-socket");
    front->proxy = proxy;
    list_init(&front->clients);
    list_init(&front->flow.link);
    timer_init(&front->again, on_again, front);
    const struct acceptor_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .mode = proxy->options->socket_mode,
        .what = "the socket of --stock-qga-socket",
        .outside = proxy->dialer.outside,
        .accepted = on_connection,
        .argument = front,
    };
    int err = address_parse_path(path, &address, fault);
    if (err == 0)
        err = acceptor_new(&address, &config, &front->acceptor);
    if (err < 0) {
        free(front);
        return ob_fault_set(fault, err, "can't listen at %.180s: %s", path, strerror(-err));
    }
    *ret_front = front;
    return 0;
}

void qga_front_free(struct qga_front *front)
{
    if (!front)
        return;
    timer_cancel(&front->again);
    disconnect(front, OB_REASON_SHUTDOWN);
    while (!list_empty(&front->clients))
        drop_client(front, list_entry(front->clients.next, struct qga_client, link));
    acceptor_free(front->acceptor);
    free(front);
}
