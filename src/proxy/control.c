// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client is READING a line, WAITING for a session or for a PONG, or gets its status WRITTEN; with
 * OPEN its descriptor becomes a relay's. Bytes are looked at with MSG_PEEK and taken up to the end
 * of the line, so that bytes behind OPEN reach the stream. The part of a line that is there
 * is taken too: in a socket a hundred tiny writes fill the room of a hundred thousand bytes.
 */
#include "proxy/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/acceptor.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/agent_gate.h"
#include "proxy/credentials.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/relay.h"
#include "proxy/run.h"
#include "proxy/service.h"
#include "proxy/status.h"

#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLET)

enum state {
    READING,
    WAITING_UP,
    WAITING_PONG,
    WRITING,
};

struct control {
    struct proxy *proxy;
    struct list link; /* proxy.controls */
    int fd;
    struct loop_source *source;
    enum state state;
    size_t line_len; /* of the line that is not whole yet */
    char line[LIMIT_CONTROL_LINE];
    char *text; /* to be written */
    size_t text_len, text_done;
};

static void forget(struct control *control)
{
    control->proxy->controls.count--;
    list_remove(&control->link);
    loop_remove(control->source);
    free(control->text);
    free(control);
}

static void hang_up(struct control *control)
{
    int fd = control->fd;
    struct acceptor *acceptor = control->proxy->control;
    forget(control);
    socket_close(fd);
    if (acceptor)
        acceptor_refill(acceptor);
}

/* A line. There is room for one in a socket whose client reads its answers; the connection of a
 * client that does not is shut down, so that none gets part of an answer. */
static void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(int fd, const char *format, ...)
{
    char line[LIMIT_CONTROL_LINE];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (len >= (int)sizeof(line)) {
        len = (int)sizeof(line);
        line[len - 1] = '\n';
    }
    if (send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
        shutdown(fd, SHUT_RDWR);
}

static void on_answer(int fd, uint32_t reason)
{
    if (reason == OB_REASON_NONE)
        say(fd, "OK\n");
    else
        say(fd, "REFUSED %" PRIu32 " %s\n", reason, reason_text(reason));
}

/* Returns whether the client is still there. */
static bool write_text(struct control *control)
{
    while (control->text_done < control->text_len) {
        ssize_t put = write(control->fd, control->text + control->text_done,
                            control->text_len - control->text_done);
        if (put < 0 && errno == EAGAIN)
            return true;
        if (put < 0)
            break;
        control->text_done += (size_t)put;
    }
    hang_up(control);
    return false;
}

static bool do_status(struct control *control, const char *format)
{
    control->text = status_text(control->proxy, strcmp(format, "json") == 0, &control->text_len);
    control->state = WRITING;
    if (control->text)
        return write_text(control);
    hang_up(control);
    return false;
}

static bool do_ping(struct control *control, const char *unused)
{
    int err = ob_session_ping(control->proxy->session, clock_now_ns());
    if (err == 0 || err == -EBUSY)
        control->state = WAITING_PONG;
    else
        say(control->fd, "DOWN\n");
    return true;
}

static void say_up(struct control *control)
{
    say(control->fd, "UP %016" PRIx64 "\n", ob_session_tag(control->proxy->session));
}

static bool do_wait(struct control *control, const char *unused)
{
    if (ob_session_tag(control->proxy->session))
        say_up(control);
    else
        control->state = WAITING_UP;
    return true;
}

static bool open_stream(struct control *control, const char *service, const char *metadata)
{
    int fd = control->fd;
    struct proxy *proxy = control->proxy;
    char name[LIMIT_CONTROL_LINE]; /* the line goes with the control */
    snprintf(name, sizeof(name), "%s", service);
    if (proxy->control && acceptor_reserve_is_used(proxy->control)) {
        on_answer(fd, OB_REASON_BUSY); /* there are no descriptors, and this is the last one */
        hang_up(control);
        return false;
    }
    forget(control);
    if (strcmp(name, AGENT_SERVICE) == 0)
        agent_gate_open(proxy, fd, metadata, on_answer);
    else
        relay_open(proxy, fd, name, metadata, on_answer);
    return false;
}

static bool do_open(struct control *control, const char *service)
{
    char caller[CREDENTIALS_TEXT_MAX] = "";
    if (strcmp(service, AGENT_SERVICE) == 0)
        credentials_describe(control->fd, control->proxy->dialer.outside, caller);
    return open_stream(control, service, *caller ? caller : NULL);
}

static bool do_run(struct control *control, const char *service)
{
    return open_stream(control, service, RUN_METADATA);
}

static bool is_nothing(const char *rest)
{
    return !*rest;
}

static bool is_format(const char *rest)
{
    return !*rest || strcmp(rest, "json") == 0;
}

static bool is_service(const char *rest)
{
    return *rest;
}

/* apply() returns whether the client is still there. */
static const struct {
    const char *word;
    bool (*takes)(const char *rest);
    bool (*apply)(struct control *control, const char *rest);
} commands[] = {
    {"WAIT", is_nothing, do_wait}, {"PING", is_nothing, do_ping}, {"STATUS", is_format, do_status},
    {"OPEN", is_service, do_open}, {"RUN", is_service, do_run},
};

static bool apply_line(struct control *control, char *line)
{
    char *rest = strchr(line, ' ');
    if (rest)
        *rest++ = '\0';
    rest = rest ? rest : line + strlen(line);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(line, commands[i].word) == 0 && commands[i].takes(rest))
            return commands[i].apply(control, rest);
    }
    say(control->fd, "ERROR no such command\n");
    hang_up(control);
    return false;
}

/* Takes bytes off the socket up to the end of the line. Returns 0 when the line is there, ended by
 * a NUL; -EAGAIN: not yet; or another negative errno. */
static int take_line(struct control *control)
{
    char *at = control->line + control->line_len;
    size_t room = sizeof(control->line) - control->line_len;
    ssize_t got = recv(control->fd, at, room, MSG_PEEK);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? -EAGAIN : -ENOTCONN;
    const char *newline = memchr(at, '\n', (size_t)got);
    size_t len = newline ? (size_t)(newline - at) + 1 : (size_t)got;
    if (socket_read(control->fd, at, len) != (ssize_t)len)
        return -ENOTCONN;
    if (newline) {
        at[len - 1] = '\0';
        control->line_len = 0;
        return 0;
    }
    control->line_len += len;
    return len == room ? -EPROTO : -EAGAIN;
}

/* Does lines until one has to wait, or none is left, or others have waited long enough. */
static void read_lines(struct control *control, bool hung_up)
{
    for (int i = 0; control->state == READING; i++) {
        if (i == LIMIT_CONTROL_BURST) {
            loop_change(control->source, EVENTS); /* which tells again of bytes that are there */
            return;
        }
        int err = take_line(control);
        if (err < 0) {
            if (err == -EPROTO)
                say(control->fd, "ERROR a line has less than %d bytes\n", LIMIT_CONTROL_LINE);
            if (err != -EAGAIN || hung_up)
                hang_up(control);
            return;
        }
        if (!apply_line(control, control->line))
            return;
    }
}

static void on_event(void *argument, uint32_t events)
{
    struct control *control = argument;
    bool hung_up = events & (EPOLLHUP | EPOLLERR);
    if (control->state == WRITING)
        write_text(control);
    else if (control->state != READING && hung_up)
        hang_up(control);
    else
        read_lines(control, hung_up);
}

int control_adopt(struct proxy *proxy, int fd)
{
    AUTO_FD owned = fd;
    socket_refuse_fds(fd);
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return -ENOMEM;
    *control = (struct control){.proxy = proxy, .fd = fd};
    int err = loop_add(proxy->loop, fd, EVENTS, on_event, control, &control->source);
    if (err < 0) {
        free(control);
        return err;
    }
    take_fd(&owned);
    list_init(&control->link);
    list_append(&proxy->controls.list, &control->link);
    proxy->controls.count++;
    return 0;
}

static void on_connection(void *argument, int fd)
{
    struct proxy *proxy = argument;
    if (proxy->controls.count < LIMIT_CONTROL_CLIENTS) {
        control_adopt(proxy, fd);
        return;
    }
    say(fd, "ERROR %d clients are at this control socket already, which is the limit; try again\n",
        LIMIT_CONTROL_CLIENTS);
    socket_close(fd);
}

int control_listen(struct proxy *proxy, struct ob_fault *fault)
{
    const char *path = proxy->options->control;
    struct address address = {.kind = ADDRESS_UNIX};
    if (!path)
        return 0;
    if (snprintf(address.name, sizeof(address.name), "%s", path) >= (int)sizeof(address.name))
        return ob_fault_set(fault, -ENAMETOOLONG,
                            "'%.100s...': the path is too long for a socket; give a shorter one",
                            path);
    const struct acceptor_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .mode = 0600, /* a client can run commands */
        .title = path,
        .outside = proxy->dialer.outside,
        .accepted = on_connection,
        .argument = proxy,
    };
    int err = acceptor_new(&address, &config, &proxy->control);
    if (err < 0)
        return ob_fault_set(fault, err, "can't listen at %.200s: %s", path, strerror(-err));
    acceptor_reserve(proxy->control);
    return 0;
}

void control_done(struct proxy *proxy)
{
    struct list *next;
    for (struct list *link = proxy->controls.list.next; link != &proxy->controls.list;
         link = next) {
        next = link->next;
        hang_up(list_entry(link, struct control, link));
    }
    acceptor_free(proxy->control);
}

/* Continues with the clients that wait in this state, once each was told. */
static void release(struct proxy *proxy, enum state state, void (*tell)(struct control *, uint64_t),
                    uint64_t value)
{
    struct list *next;
    for (struct list *link = proxy->controls.list.next; link != &proxy->controls.list;
         link = next) {
        struct control *control = list_entry(link, struct control, link);
        next = link->next;
        if (control->state != state)
            continue;
        control->state = READING;
        tell(control, value);
        read_lines(control, false);
    }
}

static void tell_up(struct control *control, uint64_t unused)
{
    say_up(control);
}

static void tell_pong(struct control *control, uint64_t round_trip_ns)
{
    say(control->fd, "PONG %" PRIu64 "\n", round_trip_ns);
}

static void tell_down(struct control *control, uint64_t unused)
{
    say(control->fd, "DOWN\n");
}

void control_on_up(struct proxy *proxy)
{
    release(proxy, WAITING_UP, tell_up, 0);
}

void control_on_hopeless(struct proxy *proxy, const char *why)
{
    struct list *next;
    for (struct list *link = proxy->controls.list.next; link != &proxy->controls.list;
         link = next) {
        struct control *control = list_entry(link, struct control, link);
        next = link->next;
        if (control->state != WAITING_UP)
            continue;
        say(control->fd, "DOWN %s\n", why);
        hang_up(control);
    }
}

void control_on_pong(struct proxy *proxy, uint64_t round_trip_ns)
{
    release(proxy, WAITING_PONG, tell_pong, round_trip_ns);
}

void control_on_ended(struct proxy *proxy)
{
    release(proxy, WAITING_PONG, tell_down, 0);
}
