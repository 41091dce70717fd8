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
 * Descriptors are watched edge-triggered (a port without a host end hangs up for ever), so
 * `readable` and `writable` remember what the last system call did not use up.
 *
 * To one who listens a new connection takes the place of the old one, which may well be dead
 * without anybody having said so.
 */
#include "proxy/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/acceptor.h"
#include "proxy/backoff.h"
#include "proxy/channel_open.h"
#include "proxy/dial.h"
#include "proxy/proxy.h"
#include "proxy/relay.h"

#define SPANS 64

/* Writes in a row before the loop looks at everything else again. */
#define WRITES_PER_TURN 16

enum state {
    CLOSED,
    SILENT,
    UP,
};

struct channel {
    struct proxy *proxy;
    const struct channel_spec *spec;
    enum state state;
    int in_fd, out_fd; /* the same but for stdio; -1: closed */
    struct terminal in_before, out_before;
    struct loop_source *in_source, *out_source;
    bool readable, writable;
    bool is_socket;            /* so that descriptors may come, which nobody wants */
    struct acceptor *acceptor; /* NULL: it does not listen */
    char listens_at[ADDRESS_TEXT_MAX];
    struct dial *dial;
    struct timer retry;
    struct backoff backoff;
    bool heard;      /* any byte, since it was opened */
    bool stood;      /* a session, at some time: the framing is right */
    bool complained; /* of a failure to open, since a session last stood */
    uint8_t buffer[LIMIT_CHANNEL_READ];
};

static void go_up(struct channel *channel)
{
    channel->state = UP;
    int err = ob_session_transport_up(channel->proxy->session, clock_now_ns());
    if (err < 0)
        proxy_log("no random numbers: %s", strerror(-err));
}

void channel_session_stands(struct channel *channel)
{
    backoff_stands(&channel->backoff, clock_now_ns());
    channel->complained = false;
    channel->stood = true;
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
    timer_set(&channel->proxy->timers, &channel->retry, clock_now_ns() + wait_ns);
}

static void release_fds(struct channel *channel)
{
    loop_remove(take_ptr(&channel->in_source));
    loop_remove(take_ptr(&channel->out_source));
    if (channel->out_fd >= 0 && channel->out_fd != channel->in_fd) {
        terminal_put_back(channel->out_fd, &channel->out_before);
        auto_close(&channel->out_fd);
    }
    if (channel->in_fd >= 0)
        terminal_put_back(channel->in_fd, &channel->in_before);
    if (channel->is_socket && channel->in_fd >= 0)
        socket_close(channel->in_fd);
    else
        auto_close(&channel->in_fd);
    channel->in_fd = channel->out_fd = -1;
}

/* It is gone: waits for the next one, or stops where there can't be one. */
static void lose(struct channel *channel)
{
    struct proxy *proxy = channel->proxy;
    release_fds(channel);
    go_down(channel, CLOSED);
    switch (channel->spec->kind) {
    case CHANNEL_STDIO:
    case CHANNEL_FD:
        proxy->stop = true;
        proxy->exit_status = proxy->ended_reason == OB_REASON_NONE ? EXIT_SUCCESS : EXIT_FAILURE;
        break;
    case CHANNEL_LISTEN:
        break;
    default:
        retry_after(channel, channel->heard ? backoff_lost(&channel->backoff, clock_now_ns())
                                            : backoff_unheard(&channel->backoff));
        break;
    }
}

static void on_in_event(void *argument, uint32_t events)
{
    struct channel *channel = argument;
    channel->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        channel->writable = true;
}

static void on_out_event(void *argument, uint32_t events)
{
    struct channel *channel = argument;
    channel->writable = true;
}

/* Whether the descriptor can be waited for; files and such always are ready. */
static int watch(struct channel *channel)
{
    struct loop *loop = channel->proxy->loop;
    uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    if (channel->out_fd == channel->in_fd)
        return loop_add(loop, channel->in_fd, events | EPOLLOUT, on_in_event, channel,
                        &channel->in_source);
    int err = loop_add(loop, channel->in_fd, events, on_in_event, channel, &channel->in_source);
    if (err == 0)
        err = loop_add(loop, channel->out_fd, EPOLLOUT | EPOLLET, on_out_event, channel,
                       &channel->out_source);
    return err;
}

/* Takes the descriptors. What their other end is, the first read will tell. */
static int adopt(struct channel *channel, int in_fd, int out_fd)
{
    if (channel->in_fd >= 0) {
        release_fds(channel);
        go_down(channel, CLOSED);
    }
    channel->in_fd = in_fd;
    channel->out_fd = out_fd;
    channel->is_socket = descriptor_is_socket(in_fd);
    channel->state = SILENT;
    channel->readable = channel->writable = true;
    channel->heard = false;
    log_keep_off(out_fd);
    int err = watch(channel);
    if (err < 0)
        release_fds(channel);
    return err;
}

static void complain(struct channel *channel, int err)
{
    struct proxy *proxy = channel->proxy;
    proxy_set_trouble(proxy, "can't open %s: %s", channel->spec->text, strerror(-err));
    if (!channel->complained)
        proxy_log("%s; trying again", proxy->trouble);
    channel->complained = true;
}

static void on_dialled(void *argument, int fd)
{
    struct channel *channel = argument;
    channel->dial = NULL;
    int err = fd < 0 ? fd : adopt(channel, fd, fd);
    if (err < 0) {
        complain(channel, err);
        retry_after(channel, backoff_failed(&channel->backoff));
    }
}

static void on_connection(void *argument, int fd)
{
    struct channel *channel = argument;
    if (channel->in_fd >= 0)
        proxy_log("a new connection takes the channel's place");
    adopt(channel, fd, fd);
}

/* Makes one try. */
static int open_now(struct channel *channel)
{
    const struct channel_spec *spec = channel->spec;
    if (spec->kind == CHANNEL_CONNECT)
        return dial_start(channel->proxy, &spec->address, NULL, on_dialled, channel,
                          &channel->dial);
    int fd = spec->kind == CHANNEL_VIRTIO
                 ? channel_open_virtio(spec->path)
                 : channel_open_serial(spec->path, spec->number, &channel->in_before);
    return fd < 0 ? fd : adopt(channel, fd, fd);
}

static void on_retry(void *argument)
{
    struct channel *channel = argument;
    int err = open_now(channel);
    if (err < 0) {
        complain(channel, err);
        retry_after(channel, backoff_failed(&channel->backoff));
    }
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
        proxy_log("%s is a terminal or a serial line: put ,line behind it, here and at the other "
                  "end",
                  channel->spec->text);
    err = adopt(channel, in_fd, out_fd);
    return err < 0
               ? ob_fault_set(fault, err, "descriptor %d is no channel: %s", in_fd, strerror(-err))
               : 0;
}

static int start_listening(struct channel *channel, struct ob_fault *fault)
{
    const struct address *address = &channel->spec->address;
    address_format(address, channel->listens_at);
    int err = acceptor_new(channel->proxy, address, channel->proxy->options->socket_mode,
                           channel->listens_at, on_connection, channel, &channel->acceptor);
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
        .in_fd = -1,
        .out_fd = -1,
    };
    backoff_init(&channel->backoff);
    timer_init(&channel->retry, on_retry, channel);
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
    timer_cancel(&channel->retry);
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
    channel->writable = false;
    if (channel->in_fd == channel->out_fd)
        channel->readable = true;
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
        ssize_t put = writev(channel->out_fd, spans, count);
        int err = put < 0 ? errno : 0;
        ob_session_transmitted(session, put);
        if (err == EAGAIN) {
            channel->writable = false;
            return;
        }
        if (err && err != EINTR) {
            on_write_error(channel);
            return;
        }
    }
}

/* What a fault of the session is about, if the bytes are those of another framing. */
static const char *hint_of_framing(const struct channel *channel, int err)
{
    bool never_stood = ob_session_tag(channel->proxy->session) == 0 && !channel->stood;
    if (err != -EPROTO || channel->spec->framing != OB_CHANNEL_STREAM || !never_stood)
        return "";
    return "; if a VMM's port or a serial line is behind it, put ,line behind it at both ends";
}

/* A peer that takes this line for a stream is seen by its greeting, in which a zero precedes the
 * magic word: on a line no frame has a zero in it. */
static void look_for_stream(struct channel *channel, size_t len)
{
    static const char greeting[] = "\0OUTBOARD";
    struct proxy *proxy = channel->proxy;
    if (channel->spec->framing != OB_CHANNEL_LINE || ob_session_tag(proxy->session) ||
        !memmem(channel->buffer, len, greeting, sizeof(greeting) - 1))
        return;
    proxy_set_trouble(proxy,
                      "the other end of %s sends a stream and this one reads a line: put ,line "
                      "behind the channel there, or take it away here",
                      channel->spec->text);
    if (!channel->complained)
        proxy_log("%s", proxy->trouble);
    channel->complained = true;
}

/* Reads once. The session takes it all. */
static void receive(struct channel *channel)
{
    struct ob_session *session = channel->proxy->session;
    ssize_t got = channel->is_socket
                      ? socket_read(channel->in_fd, channel->buffer, sizeof(channel->buffer))
                      : read(channel->in_fd, channel->buffer, sizeof(channel->buffer));
    int err = got < 0 ? -errno : 0;
    if (err == -EINTR)
        return;
    if (got <= 0)
        channel->readable = false;
    if (got == 0 || (err < 0 && err != -EAGAIN)) {
        on_end(channel, err);
        return;
    }
    if (channel->state == SILENT)
        go_up(channel);
    channel->heard |= got > 0;
    if (got > 0)
        look_for_stream(channel, (size_t)got);
    if (got > 0)
        err = ob_session_receive(session, channel->buffer, (size_t)got, clock_now_ns());
    if (err < 0 && err != -EAGAIN) {
        if (err != -EACCES ||
            !channel->proxy->options->is_private) { /* the command tells of keys */
            proxy_set_trouble(channel->proxy, "%s%s", ob_session_fault(session)->text,
                              hint_of_framing(channel, err));
            proxy_log("dropping the channel %s: %s", channel->spec->text, channel->proxy->trouble);
        }
        transmit(channel); /* why, if the peer still hears it */
        lose(channel);
    }
}

void channel_describe(const struct channel *channel, char *ret_text, size_t size)
{
    const struct channel_spec *spec = channel->spec;
    const char *hint = spec->framing == OB_CHANNEL_STREAM && spec->kind != CHANNEL_LISTEN
                           ? "; if a VMM's port or a serial line is behind it, put ,line behind it "
                             "at both ends"
                           : "";
    switch (channel->state) {
    case SILENT:
        snprintf(ret_text, size, "nobody is at the other end of %s", spec->text);
        break;
    case UP:
        snprintf(ret_text, size, "%s is open, and no other end has answered%s", spec->text, hint);
        break;
    case CLOSED:
        snprintf(ret_text, size,
                 spec->kind == CHANNEL_LISTEN ? "nobody has connected to %s" : "opening %s",
                 spec->text);
        break;
    }
}

bool channel_work(struct channel *channel)
{
    struct ob_session *session = channel->proxy->session;
    if (channel->in_fd >= 0 && channel->readable)
        receive(channel);
    relay_pump_ready(channel->proxy);
    if (channel->state == UP && channel->writable)
        transmit(channel);
    return channel->in_fd >= 0 &&
           (channel->readable ||
            (channel->state == UP && channel->writable && ob_session_has_output(session)));
}
