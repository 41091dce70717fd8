// SPDX-License-Identifier: BSD-3-Clause
/*
 * A channel is
 *
 *   CLOSED   no descriptor: a retry is due, a connection is being made, or somebody may connect
 *   SILENT   a descriptor, at whose other end nobody is: a virtio-serial port that the host has
 *            not opened, which reads as at its end. It is not closed, or the host would see the
 *            port close and open with each try; the next edge of its readiness tells.
 *   UP       the session has it
 *
 * Descriptors are watched by edges (endpoint/pump.h): a port without a host end hangs up for ever.
 *
 * Who listens goes from CLOSED to UP at once: with a connection that has brought a session already
 * (claimants.h). If there is one that stands, its peer is asked first whether it lives. If it
 * does, the other is sent away, with the reason; else it takes the place.
 */
#include "proxy/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/acceptor.h"
#include "endpoint/dial.h"
#include "endpoint/outside.h"
#include "endpoint/pump.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/appearance.h"
#include "proxy/backoff.h"
#include "proxy/channel_open.h"
#include "proxy/claimants.h"
#include "proxy/flow.h"
#include "proxy/framing.h"
#include "proxy/proxy.h"
#include "proxy/tenant.h"

#define SPANS 64

/* Writes in a row before the loop looks at everything else again. */
#define WRITES_PER_TURN 16

/* How long a peer has to show that it lives, when another end wants its place, and how long who was
 * told that it has lost it, or can't have it, leaves the channel alone. */
#define PROOF_OF_LIFE_NS 2000000000u
#define TAKEN_NS         30000000000u

enum state {
    CLOSED,
    SILENT,
    UP,
};

/* How it is opened again. */
struct retry {
    struct timer timer;
    struct backoff backoff;
    struct appearance *appearance; /* of a channel that can't be opened; NULL: not watched */
    bool complained;               /* of a failure to open, since a session last stood */
};

struct channel {
    struct proxy *proxy;
    const struct channel_spec *spec;
    enum state state;
    struct pump in, out; /* out: of stdio alone, else without a descriptor */
    struct pump *to;     /* written to: one of them */
    struct terminal in_before, out_before;
    struct acceptor *acceptor; /* NULL: it does not listen */
    char listens_at[ADDRESS_TEXT_MAX];
    struct claimants *claimants;
    struct timer takeover;  /* the peer has not answered, a claimant takes its place */
    uint64_t received_then; /* bytes from the peer, when that timer was set */
    struct dial *dial;
    struct retry retry;
    bool over;  /* it is gone, and there can't be another */
    bool heard; /* any byte, since it was opened */
    uint8_t buffer[LIMIT_CHANNEL_READ];
};

static void transmit(struct channel *channel);
static void hand_over(struct channel *channel, const uint8_t *bytes, size_t len);
static void on_claimant(void *argument, struct claimant *claimant);
static void on_takeover(void *argument);

static void go_up(struct channel *channel)
{
    channel->state = UP;
    int err = ob_session_transport_up(channel->proxy->session, clock_now_ns());
    if (err < 0)
        proxy_log("no random numbers: %s", strerror(-err));
}

void channel_session_stands(struct channel *channel)
{
    backoff_stands(&channel->retry.backoff, clock_now_ns());
    channel->retry.complained = false;
    appearance_free(take_ptr(&channel->retry.appearance));
}

static void go_down(struct channel *channel, enum state state)
{
    bool was_up = channel->state == UP;
    channel->state = state;
    if (was_up)
        ob_session_transport_down(channel->proxy->session, clock_now_ns());
}

static void retry_after(struct channel *channel, uint64_t wait_ns)
{
    if (channel->proxy->history.ended_reason == OB_REASON_TAKEN && wait_ns < TAKEN_NS)
        wait_ns = TAKEN_NS;
    timer_set(&channel->proxy->timers, &channel->retry.timer, clock_now_ns() + wait_ns);
}

static void release_fds(struct channel *channel)
{
    bool is_socket = channel->in.is_socket;
    int in_fd = pump_stop(&channel->in), out_fd = pump_stop(&channel->out);
    if (out_fd >= 0)
        terminal_put_back(out_fd, &channel->out_before);
    auto_close(&out_fd);
    if (in_fd >= 0)
        terminal_put_back(in_fd, &channel->in_before);
    if (is_socket && in_fd >= 0)
        socket_close(in_fd);
    else
        auto_close(&in_fd);
}

/* It is gone: waits for the next one, or is over where there can't be one. */
static void lose(struct channel *channel)
{
    struct proxy *proxy = channel->proxy;
    release_fds(channel);
    go_down(channel, CLOSED);
    switch (channel->spec->kind) {
    case CHANNEL_STDIO:
    case CHANNEL_FD:
        channel->over = true;
        break;
    case CHANNEL_LISTEN: /* if somebody waits for it: not from within a callback of the session */
        timer_set(&proxy->timers, &channel->takeover, clock_now_ns());
        break;
    default:
        retry_after(channel, channel->heard ? backoff_lost(&channel->retry.backoff, clock_now_ns())
                                            : backoff_unheard(&channel->retry.backoff));
        break;
    }
}

static void on_in_event(void *argument, uint32_t events)
{
    struct channel *channel = argument;
    channel->in.readable = true; /* a port that becomes writable has a host end again */
    if (channel->in.closed)
        channel->in.writable = true;
}

static void on_out_event(void *argument, uint32_t events)
{
    struct channel *channel = argument;
    channel->out.writable = true;
}

/* Whether the descriptor can be waited for; files and such always are ready. */
static int watch(struct channel *channel)
{
    struct loop *loop = channel->proxy->loop;
    bool is_one = channel->to == &channel->in;
    int err = pump_watch(&channel->in, loop, is_one ? PUMP_READS | PUMP_WRITES : PUMP_READS,
                         on_in_event, channel);
    if (err == 0 && !is_one)
        err = pump_watch(&channel->out, loop, PUMP_WRITES, on_out_event, channel);
    return err;
}

/* Takes the descriptors. The first read will tell the state of their other end. */
static int adopt(struct channel *channel, int in_fd, int out_fd)
{
    if (channel->in.fd >= 0) {
        release_fds(channel);
        go_down(channel, CLOSED);
    }
    pump_init(&channel->in, in_fd);
    pump_init(&channel->out, out_fd == in_fd ? -1 : out_fd);
    channel->to = out_fd == in_fd ? &channel->in : &channel->out;
    channel->in.is_socket = descriptor_is_socket(in_fd);
    channel->state = SILENT;
    channel->in.readable = channel->to->writable = true;
    channel->heard = false;
    log_keep_off(out_fd);
    int err = watch(channel);
    if (err < 0)
        release_fds(channel);
    return err;
}

/* Advice for the user. */
static const char *advice(int err)
{
    switch (err) {
    case -ENOENT:
    case -ENOTDIR:
        return "; check its name";
    case -EACCES:
    case -EPERM:
        return "; give this user the right to read and write it";
    case -EBUSY:
        return "; end the program that has it open";
    case -ECONNREFUSED:
        return "; start the program that listens there";
    default:
        return "";
    }
}

static void on_appearance(void *argument)
{
    struct channel *channel = argument;
    if (channel->state != CLOSED || channel->dial)
        return;
    backoff_init(&channel->retry.backoff);
    retry_after(channel, 0);
}

/* It can't be opened: tells once, and tries again later, or when it has changed. */
static void failed_to_open(struct channel *channel, int err)
{
    struct proxy *proxy = channel->proxy;
    trouble_set(&proxy->trouble, "can't open %s: %s", channel->spec->text, strerror(-err));
    if (!channel->retry.complained)
        proxy_log("%s%s; trying again", proxy->trouble.text, advice(err));
    channel->retry.complained = true;
    if (!channel->retry.appearance)
        appearance_watch(proxy->loop, channel->spec, proxy->dialer.outside, on_appearance, channel,
                         &channel->retry.appearance);
    retry_after(channel, backoff_failed(&channel->retry.backoff));
}

static void on_dialled(void *argument, int fd)
{
    struct channel *channel = argument;
    channel->dial = NULL;
    int err = fd < 0 ? fd : adopt(channel, fd, fd);
    if (err < 0)
        failed_to_open(channel, err);
}

static void on_connection(void *argument, int fd)
{
    struct channel *channel = argument;
    log_keep_off(fd);
    claimants_add(channel->claimants, fd);
}

/* The descriptor of a port or a line, or a negative errno. */
static int open_device(struct channel *channel)
{
    const struct channel_spec *spec = channel->spec;
    struct outside *outside = channel->proxy->dialer.outside;
    if (!outside)
        return spec->kind == CHANNEL_VIRTIO
                   ? channel_open_virtio(spec->path)
                   : channel_open_serial(spec->path, spec->number, &channel->in_before);
    AUTO_FD fd = outside_open(outside, OUTSIDE_OPEN);
    int err = fd;
    if (err >= 0 && spec->kind == CHANNEL_SERIAL)
        err = channel_prepare_serial(fd, spec->number, &channel->in_before);
    return err < 0 ? err : take_fd(&fd);
}

/* Makes one try. */
static int open_now(struct channel *channel)
{
    const struct channel_spec *spec = channel->spec;
    if (spec->kind == CHANNEL_CONNECT)
        return dial_start(&channel->proxy->dialer, &spec->address, NULL, on_dialled, channel,
                          &channel->dial);
    int fd = open_device(channel);
    return fd < 0 ? fd : adopt(channel, fd, fd);
}

static void on_retry(void *argument)
{
    struct channel *channel = argument;
    int err = open_now(channel);
    if (err < 0)
        failed_to_open(channel, err);
}

/* Once for descriptors that are given. 0 or a negative errno with the fault filled. */
static int adopt_given(struct channel *channel, int in_fd, int out_fd, struct ob_fault *fault)
{
    int err = terminal_prepare(in_fd, &channel->in_before);
    if (err == 0 && out_fd != in_fd)
        err = terminal_prepare(out_fd, &channel->out_before);
    if (err < 0) {
        terminal_put_back(in_fd, &channel->in_before);
        return ob_fault_set(fault, err, "--channel=%.100s: descriptor %d: %s", channel->spec->text,
                            in_fd, strerror(-err));
    }
    if (isatty(in_fd) && channel->spec->framing == OB_CHANNEL_STREAM)
        proxy_log("%s: got a terminal or a serial line, expected a stream; append ,line here and "
                  "at the other end",
                  channel->spec->text);
    err = adopt(channel, in_fd, out_fd);
    return err < 0 ? ob_fault_set(fault, err, "descriptor %d can't be a channel: %s", in_fd,
                                  strerror(-err))
                   : 0;
}

static int start_listening(struct channel *channel, struct ob_fault *fault)
{
    const struct address *address = &channel->spec->address;
    address_format(address, channel->listens_at);
    const struct acceptor_config config = {
        .loop = channel->proxy->loop,
        .timers = &channel->proxy->timers,
        .mode = channel->proxy->options->socket_mode,
        .title = channel->listens_at,
        .outside = channel->proxy->dialer.outside,
        .accepted = on_connection,
        .argument = channel,
    };
    int err = claimants_new(channel->proxy, on_claimant, channel, &channel->claimants);
    if (err == 0)
        err = acceptor_new(address, &config, &channel->acceptor);
    return err < 0 ? ob_fault_set(fault, err, "can't listen at %.200s: %s", channel->listens_at,
                                  strerror(-err))
                   : 0;
}

static int start(struct channel *channel, struct ob_fault *fault)
{
    const struct channel_spec *spec = channel->spec;
    switch (spec->kind) {
    case CHANNEL_STDIO:
        return adopt_given(channel, STDIN_FILENO, STDOUT_FILENO, fault);
    case CHANNEL_FD:
        return adopt_given(channel, (int)spec->number, (int)spec->number, fault);
    case CHANNEL_LISTEN:
        return start_listening(channel, fault);
    default:
        on_retry(channel);
        return 0;
    }
}

int channel_new(struct proxy *proxy, struct channel **ret_channel, struct ob_fault *fault)
{
    struct channel *channel = malloc(sizeof(*channel));
    if (!channel)
        return ob_fault_set(fault, -ENOMEM, "no memory for the channel");
    *channel = (struct channel){
        .proxy = proxy,
        .spec = &proxy->options->channel,
    };
    pump_init(&channel->in, -1);
    pump_init(&channel->out, -1);
    channel->to = &channel->in;
    backoff_init(&channel->retry.backoff);
    timer_init(&channel->retry.timer, on_retry, channel);
    timer_init(&channel->takeover, on_takeover, channel);
    int err = start(channel, fault);
    if (err < 0)
        channel_free(channel);
    else
        *ret_channel = channel;
    return err;
}

void channel_free(struct channel *channel)
{
    if (!channel)
        return;
    release_fds(channel);
    dial_cancel(channel->dial);
    timer_cancel(&channel->retry.timer);
    appearance_free(channel->retry.appearance);
    timer_cancel(&channel->takeover);
    claimants_free(channel->claimants);
    acceptor_free(channel->acceptor);
    free(channel);
}

/* Nobody is at the other end of it, or it is gone. */
static void on_end(struct channel *channel, int err)
{
    if (err == 0 && channel->spec->kind == CHANNEL_VIRTIO)
        go_down(channel, SILENT);
    else
        lose(channel);
}

/* Bytes may still lie on a socket whose other end is closed; the read behind them tells the rest.
 */
static void on_write_error(struct channel *channel)
{
    channel->to->writable = false;
    if (channel->to == &channel->in)
        channel->in.readable = true;
    else
        lose(channel);
}

/* Writes until the channel takes no more, or for a turn. */
static void transmit(struct channel *channel)
{
    struct ob_session *session = channel->proxy->session;
    for (int i = 0; i < WRITES_PER_TURN; i++) {
        struct iovec spans[SPANS];
        int count = ob_session_transmit(session, spans, SPANS, clock_now_ns());
        if (count == 0)
            return;
        ssize_t put = pump_write(channel->to, spans, count);
        ob_session_transmitted(session, put < 0 ? -1 : put);
        if (put == -EAGAIN)
            return;
        if (put < 0 && put != -EINTR) {
            on_write_error(channel);
            return;
        }
    }
}

/* Reads once. The session takes it all. */
static void receive(struct channel *channel)
{
    ssize_t got = pump_read(&channel->in, channel->buffer, sizeof(channel->buffer));
    int err = got < 0 ? (int)got : 0;
    if (err == -EINTR)
        return;
    if (got <= 0)
        channel->in.readable = false;
    if (got == 0 || (err < 0 && err != -EAGAIN)) {
        on_end(channel, err);
        return;
    }
    if (channel->state == SILENT)
        go_up(channel);
    channel->heard |= got > 0;
    if (got > 0)
        hand_over(channel, channel->buffer, (size_t)got);
}

/* To the session, which takes it all. */
static void hand_over(struct channel *channel, const uint8_t *bytes, size_t len)
{
    struct ob_session *session = channel->proxy->session;
    if (framing_sees_stream(channel->proxy, bytes, len) && !channel->retry.complained) {
        proxy_log("%s", channel->proxy->trouble.text);
        channel->retry.complained = true;
    }
    int err = ob_session_receive_lent(session, bytes, len, clock_now_ns());
    flow_read_all(session); /* the caller may change the bytes again */
    if (err == 0)
        return;
    if (err != -EACCES || !channel->proxy->options->is_private) { /* the command tells of keys */
        trouble_set(&channel->proxy->trouble, "%s%s", ob_session_fault(session)->text,
                    framing_hint(channel->proxy, err));
        proxy_log("dropping the channel %s: %s", channel->spec->text, channel->proxy->trouble.text);
    }
    transmit(channel); /* why, if the peer still hears it */
    lose(channel);
}

/* Sends away who has the channel. */
static void unseat(struct channel *channel)
{
    struct proxy *proxy = channel->proxy;
    if (channel->in.fd < 0)
        return;
    proxy_log("another end takes the channel, because the previous one does not answer");
    ob_session_end(proxy->session, OB_REASON_TAKEN, clock_now_ns());
    transmit(channel);
    release_fds(channel);
    go_down(channel, CLOSED);
}

static void seat(struct channel *channel, struct claimant *claimant)
{
    uint8_t rest[CLAIMANT_REST_MAX];
    size_t rest_len;
    struct tenant *tenant;
    unseat(channel);
    int fd = claimant_take(claimant, &tenant, rest, &rest_len);
    pump_init(&channel->in, fd);
    channel->to = &channel->in;
    channel->in.is_socket = true;
    channel->state = UP;
    channel->in.readable = channel->in.writable = channel->heard = true;
    tenant_move_in(tenant);
    int err = watch(channel);
    if (err < 0)
        lose(channel);
    else if (rest_len > 0)
        hand_over(channel, rest, rest_len);
}

static uint64_t bytes_received(const struct channel *channel)
{
    struct ob_session_stats stats;
    ob_session_stats(channel->proxy->session, &stats);
    return stats.bytes_received;
}

static void ask_for_life(struct channel *channel)
{
    struct proxy *proxy = channel->proxy;
    uint64_t now = clock_now_ns();
    channel->received_then = bytes_received(channel);
    ob_session_ping(proxy->session, now);
    timer_set(&proxy->timers, &channel->takeover, now + PROOF_OF_LIFE_NS);
}

static void on_claimant(void *argument, struct claimant *claimant)
{
    struct channel *channel = argument;
    if (channel->in.fd < 0)
        seat(channel, claimant);
    else
        ask_for_life(channel);
}

/* Bytes that are still on their way here may hold the answer back. */
static void on_takeover(void *argument)
{
    struct channel *channel = argument;
    struct claimant *claimant = claimants_standing(channel->claimants);
    if (!claimant)
        return;
    if (channel->in.fd >= 0 && bytes_received(channel) != channel->received_then)
        ask_for_life(channel);
    else
        seat(channel, claimant);
}

void channel_on_pong(struct channel *channel)
{
    struct claimant *claimant;
    while (channel->claimants && (claimant = claimants_standing(channel->claimants)))
        claimant_refuse(claimant, OB_REASON_TAKEN);
}

void channel_describe(const struct channel *channel, char *ret_text, size_t size)
{
    const struct channel_spec *spec = channel->spec;
    const char *hint =
        spec->framing == OB_CHANNEL_STREAM && spec->kind != CHANNEL_LISTEN
            ? "; if it leads to a VMM's port or a serial line, append ,line at both ends"
            : "";
    bool is_claimed = channel->claimants && claimants_wait(channel->claimants);
    switch (is_claimed ? UP : channel->state) {
    case SILENT:
        snprintf(ret_text, size, "no program is at the other end of %s", spec->text);
        break;
    case UP:
        snprintf(ret_text, size, "%s is open, and no other end has answered%s", spec->text, hint);
        break;
    case CLOSED:
        snprintf(ret_text, size,
                 spec->kind == CHANNEL_LISTEN ? "no end has connected to %s" : "opening %s",
                 spec->text);
        break;
    }
}

void channel_receive(struct channel *channel)
{
    if (channel->in.fd >= 0 && channel->in.readable)
        receive(channel);
}

enum channel_verdict channel_transmit(struct channel *channel)
{
    if (channel->state == UP && channel->to->writable)
        transmit(channel);
    if (channel->over)
        return CHANNEL_OVER;
    if (channel->in.fd < 0)
        return CHANNEL_WAITS;
    return channel->in.readable || (channel->state == UP && channel->to->writable &&
                                    ob_session_has_output(channel->proxy->session))
               ? CHANNEL_GOES_ON
               : CHANNEL_WAITS;
}
