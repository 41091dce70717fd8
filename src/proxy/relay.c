// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes from the descriptor are lent to the session where they were read, and nothing more is read
 * until the session gives the buffer back: that is the back pressure. Bytes from the stream stay in
 * the session, which grants no credit for them, until the descriptor took them. They are written
 * once the channel's read is worked off, so that one system call takes the bytes of many frames.
 *
 * While a buffer is lent nothing is read, and so no read fails. The events tell the end of
 * a client then: EPOLLERR is a reset, EPOLLHUP a peer that has closed both directions.
 * Neither takes away bytes that can still be delivered; a stream whose bytes have no credit can't.
 *
 * A command that has ended reads no more. Bytes for it are left where they are, without credit,
 * until its output has been read by the peer's application to the end; then the stream is reset. At
 * the peer's end that reset must not overtake the output in the kernel: LINGERING.
 */
#include "proxy/relay.h"

#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/pump.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/run.h"

#define SPANS       32
#define END_OF_FILE 4 /* the byte that a terminal takes for the end: control-D */

/* How often a lingering relay looks whether the client's kernel has everything. */
#define LINGER_STEP_NS 50000000u
#define LINGER_STEPS   600

struct relay {
    struct flow flow;
    struct pump pump; /* the descriptor */
    enum relay_end end;
    struct list ready;      /* proxy.ready */
    struct child *child;    /* the command; NULL: none, or it ended */
    relay_answer_fn answer; /* NULL: answered, or nobody asked */
    size_t buffer_len;      /* how much to read into the buffer taken last */
    bool is_large;          /* whether it is of the large kind */
    uint8_t *lent;          /* the buffer that the session has, NULL: none */
    bool reads_no_more;     /* the command is not there any more */
    bool opened;            /* the peer has accepted */
    bool finished;          /* the peer's application has read all that came from the pump */
    bool fd_ended;          /* read to its end; the stream is shut down */
    bool stream_ended;      /* likewise, the other way */
    struct timer linger;    /* the stream is over, its last bytes are on their way to the client */
    unsigned lingered;
};

/*
 * A buffer to read into. A stream that has credit gets a large one, for a moment. A stream without
 * credit may keep its buffer for as long as its peer does not read, so that is a small one.
 */
static uint8_t *take_buffer(struct relay *relay)
{
    struct ob_stream_stats stats;
    ob_stream_stats(relay->flow.stream, &stats);
    relay->buffer_len = LIMIT_RELAY_BLOCKED;
    if (stats.credit < LIMIT_RELAY_BLOCKED)
        return malloc(LIMIT_RELAY_BLOCKED);
    relay->buffer_len = stats.credit < LIMIT_RELAY_BUFFER ? stats.credit : LIMIT_RELAY_BUFFER;
    uint8_t *spare = take_ptr(&relay->flow.proxy->spare);
    relay->is_large = true;
    return spare ? spare : malloc(LIMIT_RELAY_BUFFER);
}

static void give_buffer(struct relay *relay, uint8_t *buffer)
{
    struct proxy *proxy = relay->flow.proxy;
    if (relay->is_large && !proxy->spare)
        proxy->spare = buffer;
    else
        free(buffer);
    relay->is_large = false;
}

static void give_answer(struct relay *relay, uint32_t reason)
{
    relay_answer_fn answer = relay->answer;
    relay->answer = NULL;
    if (answer)
        answer(relay->pump.fd, reason);
}

static void destroy(struct relay *relay, uint32_t reason, bool abruptly)
{
    int fd = pump_stop(&relay->pump);
    list_remove(&relay->ready);
    timer_cancel(&relay->linger);
    flow_end(&relay->flow, reason); /* then the lent buffer is ours again */
    if (relay->lent)
        give_buffer(relay, relay->lent);
    if (relay->child && abruptly)
        child_hang_up(relay->child);
    child_forget(relay->child);
    if (abruptly)
        socket_close_abruptly(fd);
    else
        socket_close(fd);
    free(relay);
}

/* A command that ends without having read all of its input has not failed for that. */
static bool is_end_of_command(const struct relay *relay, int error)
{
    return (relay->end == RELAY_TERMINAL && error == EIO) ||
           (relay->end == RELAY_COMMAND && (error == ECONNRESET || error == EPIPE));
}

/* Reads once. Returns the length, 0 at the end, or a negative errno. */
static ssize_t read_some(struct relay *relay, uint8_t *buffer)
{
    ssize_t got = pump_read(&relay->pump, buffer, relay->buffer_len);
    return got < 0 && is_end_of_command(relay, (int)-got) ? 0 : got;
}

/* Descriptor to stream. 0, or a negative errno when the descriptor failed. */
static int pump_in(struct relay *relay)
{
    while (relay->pump.readable && !relay->lent && !relay->fd_ended) {
        uint8_t *buffer = take_buffer(relay);
        if (!buffer)
            return -ENOMEM;
        ssize_t got = read_some(relay, buffer);
        if (got > 0 && ob_stream_lend(relay->flow.stream, buffer, (size_t)got) == 0) {
            relay->lent = buffer;
            return 0;
        }
        give_buffer(relay, buffer);
        if (got < 0 && got != -EAGAIN)
            return (int)got;
        if (got > 0)
            return 0; /* the stream is over; `reset` says so */
        relay->fd_ended = got == 0;
        if (relay->fd_ended)
            ob_stream_shutdown(relay->flow.stream);
    }
    return 0;
}

/* Writes the spans. Returns how many bytes were taken, or a negative errno. */
static ssize_t write_some(struct relay *relay, const struct iovec *spans, int count)
{
    ssize_t put = pump_write(&relay->pump, spans, count);
    if (put < 0 && is_end_of_command(relay, (int)-put)) {
        relay->reads_no_more = true;
        relay->pump.writable = false;
        return -EAGAIN;
    }
    return put;
}

/* Returns whether the descriptor learnt that nothing more comes. */
static bool end_writing(struct relay *relay)
{
    char end = END_OF_FILE;
    const struct iovec span = {.iov_base = &end, .iov_len = 1};
    if (relay->end != RELAY_TERMINAL) {
        shutdown(relay->pump.fd, SHUT_WR);
        return true;
    }
    return write_some(relay, &span, 1) != -EAGAIN;
}

/* Bytes of the peer to a command that has ended go nowhere, once nothing can
 * come behind them: the peer's end then, and not a reset that could overtake the command's output. */
static bool drop_rest(struct relay *relay)
{
    struct ob_stream_stats stats;
    ob_stream_stats(relay->flow.stream, &stats);
    if (!stats.ended)
        return false;
    for (const void *bytes; stats.unread > 0; ob_stream_stats(relay->flow.stream, &stats)) {
        ssize_t len = ob_stream_peek(relay->flow.stream, &bytes);
        if (len <= 0)
            return false;
        ob_stream_consume(relay->flow.stream, (size_t)len);
    }
    return true;
}

/* Stream to descriptor. 0, or a negative errno when the descriptor failed. */
static int pump_out(struct relay *relay)
{
    while ((relay->pump.writable || relay->reads_no_more) && !relay->stream_ended) {
        struct iovec spans[SPANS];
        int count = ob_stream_peek_spans(relay->flow.stream, spans, SPANS);
        if (count < 0)
            return 0;
        if (count == 0) {
            relay->stream_ended = relay->reads_no_more || end_writing(relay);
            relay->pump.writable = relay->stream_ended;
            return 0;
        }
        if (relay->reads_no_more && !drop_rest(relay))
            return 0;
        if (relay->reads_no_more)
            continue;
        ssize_t put = write_some(relay, spans, count);
        if (put < 0 && put != -EAGAIN)
            return (int)put;
        if (put > 0)
            ob_stream_consume(relay->flow.stream, (size_t)put);
    }
    return 0;
}

/* Whether the session has bytes of ours that it can't send before the peer reads. */
static bool is_blocked(const struct relay *relay)
{
    struct ob_stream_stats stats;
    ob_stream_stats(relay->flow.stream, &stats);
    return relay->lent && stats.unsent > stats.credit;
}

/* A client that is gone, though no read has said so. One that runs a command waits for its exit
 * status, so that it has died if it closed before; any other may have said all that it wanted. */
static bool is_gone(const struct relay *relay)
{
    if (relay->pump.closed && !relay->stream_ended &&
        (relay->end == RELAY_RUN || (!relay->opened && relay->fd_ended && !relay->lent)))
        return true;
    return relay->pump.broken && relay->end != RELAY_COMMAND && is_blocked(relay);
}

/* Whether the peer sends to a command that has ended, and whose output it has read to the end. */
static bool sends_in_vain(const struct relay *relay)
{
    const void *bytes;
    return relay->reads_no_more && relay->finished && !relay->stream_ended &&
           ob_stream_peek(relay->flow.stream, &bytes) > 0;
}

/* Does the work that is possible now; the relay may be gone afterwards. */
static void pump(struct relay *relay)
{
    int err = pump_out(relay);
    if (err == 0)
        err = pump_in(relay);
    if (err == 0 && (is_gone(relay) || sends_in_vain(relay)))
        err = -ECONNRESET;
    if (err < 0) {
        proxy_log_verbose(relay->flow.proxy, "%s: the connection broke", relay->flow.service);
        destroy(relay, OB_REASON_FAILED, true);
    } else if (relay->fd_ended && relay->stream_ended && !relay->lent) {
        destroy(relay, OB_REASON_NONE, false);
    }
}

/* A TCP client's kernel throws nothing away that it has acknowledged; our reset would take the
 * rest back. */
static bool is_delivered(const struct relay *relay)
{
    int waiting = 0;
    return relay->pump.broken || relay->lingered > LINGER_STEPS ||
           ioctl(relay->pump.fd, SIOCOUTQ, &waiting) < 0 || waiting == 0;
}

static void on_linger(void *argument)
{
    struct relay *relay = argument;
    if (is_delivered(relay)) {
        destroy(relay, OB_REASON_NONE, true);
        return;
    }
    timer_set(&relay->flow.proxy->timers, &relay->linger, clock_now_ns() + LINGER_STEP_NS);
}

static void on_linger_due(void *argument)
{
    struct relay *relay = argument;
    relay->lingered++;
    on_linger(relay);
}

/* The stream was reset after its end: it is the client that said too much. */
static void linger(struct relay *relay)
{
    list_remove(&relay->ready);
    flow_end(&relay->flow, OB_REASON_NONE);
    list_append(&relay->flow.proxy->lingering, &relay->ready);
    relay->lingered = 1;
    on_linger(relay);
}

void relay_end_lingering(struct proxy *proxy)
{
    while (!list_empty(&proxy->lingering))
        destroy(list_entry(proxy->lingering.next, struct relay, ready), OB_REASON_NONE, true);
}

static void on_event(void *argument, uint32_t events)
{
    struct relay *relay = argument;
    if (relay->pump.closed && (relay->end == RELAY_COMMAND || relay->end == RELAY_TERMINAL))
        relay->reads_no_more = true;
    if (relay->lingered)
        on_linger(relay);
    else
        pump(relay);
}

static void on_opened(struct flow *flow)
{
    struct relay *relay = list_entry(flow, struct relay, flow);
    relay->opened = true;
    give_answer(relay, OB_REASON_NONE);
    pump(relay);
}

static void on_stream_readable(struct flow *flow)
{
    pump(list_entry(flow, struct relay, flow));
}

void relay_pump_ready(struct proxy *proxy)
{
    struct list *next;
    for (struct list *link = proxy->ready.next; link != &proxy->ready; link = next) {
        next = link->next; /* which stays: to pump one relay does nothing to another */
        list_remove(link);
        pump(list_entry(link, struct relay, ready));
    }
}

static void on_stream_writable(struct flow *flow)
{
    struct relay *relay = list_entry(flow, struct relay, flow);
    if (relay->lent)
        give_buffer(relay, take_ptr(&relay->lent));
    pump(relay);
}

/* A client that can't be told has a connection that breaks, so the log has the reason. */
static void tell_refusal(const struct flow *flow, uint32_t reason, bool told)
{
    if (told)
        proxy_log_verbose(flow->proxy, "%s: refused: %s", flow->service, reason_text(reason));
    else if (reason == OB_REASON_NO_SERVICE)
        proxy_log("%s: refused: the other end has no service '%s'", flow->service, flow->service);
    else
        proxy_log("%s: refused: %s", flow->service, reason_text(reason));
}

static void on_refused(struct flow *flow, uint32_t reason)
{
    struct relay *relay = list_entry(flow, struct relay, flow);
    bool told = relay->answer;
    tell_refusal(flow, reason, told);
    give_answer(relay, reason);
    destroy(relay, OB_REASON_NONE, !told); /* an abrupt end could overtake the answer */
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    struct relay *relay = list_entry(flow, struct relay, flow);
    proxy_log_verbose(flow->proxy, "%s: reset: %s", flow->service, reason_text(reason));
    bool told = relay->answer;
    give_answer(relay, reason);
    if (relay->stream_ended && relay->end == RELAY_SOCKET)
        linger(relay);
    else
        destroy(relay, OB_REASON_NONE, !told);
}

/* The peer's application has read all of our output. */
static void on_finished(struct flow *flow)
{
    struct relay *relay = list_entry(flow, struct relay, flow);
    relay->finished = true;
    list_remove(&relay->ready);
    list_append(&flow->proxy->ready, &relay->ready);
}

static const struct flow_ops ops = {
    .opened = on_opened,
    .refused = on_refused,
    .readable = on_stream_readable,
    .writable = on_stream_writable,
    .finished = on_finished,
    .reset = on_reset,
};

static struct relay *make(int fd, enum relay_end end)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay)
        return NULL;
    pump_init(&relay->pump, fd);
    relay->pump.is_socket = end != RELAY_TERMINAL;
    relay->pump.drains = true;
    relay->end = end;
    list_init(&relay->ready);
    timer_init(&relay->linger, on_linger_due, relay);
    return relay;
}

/* Watches the descriptor, whose state the first event tells. */
static int watch(struct relay *relay)
{
    return pump_watch(&relay->pump, relay->flow.proxy->loop, PUMP_READS | PUMP_WRITES, on_event,
                      relay);
}

void relay_open(struct proxy *proxy, int fd, const char *service, const char *metadata,
                relay_answer_fn answer_fn)
{
    bool runs = metadata && strcmp(metadata, RUN_METADATA) == 0;
    struct relay *relay = make(fd, runs ? RELAY_RUN : RELAY_SOCKET);
    int err = relay ? flow_open(&relay->flow, proxy, &ops, service, metadata) : -ENOMEM;
    if (err < 0) {
        proxy_log_verbose(proxy, "%s: can't open: %s", service, reason_text(reason_of_errno(err)));
        if (answer_fn) {
            answer_fn(fd, reason_of_errno(err));
            socket_close(fd);
        } else {
            socket_close_abruptly(fd);
        }
        free(relay);
        return;
    }
    proxy_log_verbose(proxy, "%s: opened", service);
    relay->answer = answer_fn;
    if (watch(relay) < 0)
        destroy(relay, OB_REASON_NO_MEMORY, true);
}

static void on_command_exit(void *argument, int status)
{
    struct relay *relay = argument;
    relay->child = NULL;
    if (child_exec_error(status))
        proxy_log("%s: can't start the command: %s", relay->flow.service,
                  strerror(child_exec_error(status)));
    proxy_log_verbose(relay->flow.proxy, "%s: the command ended with %s %d", relay->flow.service,
                      WIFSIGNALED(status) ? "signal" : "status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void relay_accept(struct flow *from, int fd, enum relay_end end, struct child *child)
{
    struct relay *relay = make(fd, end);
    if (!relay) {
        flow_end(from, OB_REASON_NO_MEMORY);
        socket_close(fd);
        return;
    }
    relay->child = child;
    relay->opened = true;
    if (child)
        child_watch(child, on_command_exit, relay);
    flow_move(from, &relay->flow, &ops);
    proxy_log_verbose(relay->flow.proxy, "%s: accepted", relay->flow.service);
    if (ob_stream_accept(relay->flow.stream) < 0 || watch(relay) < 0)
        destroy(relay, OB_REASON_FAILED, true);
}
