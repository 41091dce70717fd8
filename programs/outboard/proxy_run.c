// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard proxy run: a command at the other end, as if it ran here.
 *
 * What goes to the proxy waits in one frame, and nothing else is read from stdin or the signals
 * until it is gone; what comes from the proxy is always read. So the command may fill its output
 * while it does not read its input.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"
#include "proxy_client.h"
#include "wire/run.h"

#define EXIT_NOT_FOUND   127
#define EXIT_NOT_STARTED 126
#define EXIT_SIGNAL      128

struct session {
    struct client *client;
    int signal_fd;
    bool stdin_open;
    uint8_t out[RUN_FRAME_MAX]; /* to the proxy */
    size_t out_len, out_done;
    uint8_t in[2 * RUN_FRAME_MAX]; /* from the proxy */
    size_t in_len;
    int status; /* exit status, -1: not known yet */
};

static int open_signals(bool terminal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    if (terminal)
        sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void put_out(struct session *session, size_t len)
{
    session->out_len = len;
    session->out_done = 0;
}

/* The START frame. Returns whether the command fits. */
static bool put_start(struct session *session, const struct client_options *options)
{
    char arguments[RUN_PAYLOAD_MAX];
    struct winsize size = {0};
    struct run_start start = {.terminal = options->terminal, .arguments = arguments};
    for (char **word = options->command; *word; word++) {
        size_t len = strlen(*word) + 1;
        if (start.arguments_len + len > sizeof(arguments))
            return false;
        memcpy(arguments + start.arguments_len, *word, len);
        start.arguments_len += len;
    }
    if (options->terminal && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        start.rows = size.ws_row;
        start.columns = size.ws_col;
    }
    ssize_t len = run_put_start(&start, session->out);
    if (len > 0)
        put_out(session, (size_t)len);
    return len > 0;
}

static void take_signal(struct session *session)
{
    struct signalfd_siginfo info;
    struct winsize size;
    if (read(session->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo != SIGWINCH)
        put_out(session, run_put_signal((int)info.ssi_signo, session->out));
    else if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        put_out(session, run_put_resize(size.ws_row, size.ws_col, session->out));
}

static void take_stdin(struct session *session)
{
    ssize_t got = read(STDIN_FILENO, session->out + RUN_HEADER_LEN, RUN_PAYLOAD_MAX);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        got = 0; /* a frame of no bytes is the end */
        session->stdin_open = false;
    }
    run_put_header(RUN_STDIN, (size_t)got, session->out);
    put_out(session, RUN_HEADER_LEN + (size_t)got);
}

static void write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, bytes, len);
        if (put < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (put < 0 && errno != EINTR) {
            return;
        } else if (put > 0) {
            bytes += put;
            len -= (size_t)put;
        }
    }
}

static int exit_status(const struct session *session, const struct run_exit *exit)
{
    switch (exit->kind) {
    case RUN_EXITED:
        return (int)(exit->status & 0xff);
    case RUN_SIGNALLED:
        return EXIT_SIGNAL + (int)(exit->status & 0x7f);
    default:
        client_say(session->client, "can't start the command: %s", strerror((int)exit->status));
        return exit->status == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_STARTED;
    }
}

/* 0 or -EPROTO. */
static int take_frame(struct session *session, const struct run_frame *frame)
{
    struct run_exit exit;
    switch (frame->type) {
    case RUN_STDOUT:
        write_all(STDOUT_FILENO, frame->payload, frame->len);
        return 0;
    case RUN_STDERR:
        write_all(STDERR_FILENO, frame->payload, frame->len);
        return 0;
    case RUN_EXIT:
        if (run_get_exit(frame, &exit) < 0)
            return -EPROTO;
        session->status = exit_status(session, &exit);
        return 0;
    default:
        return -EPROTO;
    }
}

/* Reads once, and does the whole frames. 0, or negative when the stream is over. */
static int take_output(struct session *session)
{
    struct run_frame frame;
    ssize_t len;
    size_t done = 0;
    ssize_t got = read(session->client->fd, session->in + session->in_len,
                       sizeof(session->in) - session->in_len);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return -ENOTCONN;
    session->in_len += (size_t)got;
    while ((len = run_get(session->in + done, session->in_len - done, &frame)) > 0) {
        if (take_frame(session, &frame) < 0)
            return -EPROTO;
        done += (size_t)len;
    }
    session->in_len -= done;
    memmove(session->in, session->in + done, session->in_len);
    return len == -EPROTO ? -EPROTO : 0;
}

/* 0, or negative when the stream is over. */
static int send_out(struct session *session)
{
    ssize_t put = write(session->client->fd, session->out + session->out_done,
                        session->out_len - session->out_done);
    if (put < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ENOTCONN;
    session->out_done += (size_t)put;
    if (session->out_done == session->out_len)
        put_out(session, 0);
    return 0;
}

/* Waits once and does what came. 0, or negative when the stream is over. */
static int turn(struct session *session)
{
    bool idle = session->out_len == 0;
    struct pollfd ready[] = {
        {.fd = session->client->fd, .events = (short)(idle ? POLLIN : POLLIN | POLLOUT)},
        {.fd = idle ? session->signal_fd : -1, .events = POLLIN},
        {.fd = idle && session->stdin_open ? STDIN_FILENO : -1, .events = POLLIN},
    };
    if (poll(ready, 3, -1) < 0)
        return errno == EINTR ? 0 : -errno;
    int err = 0;
    if (ready[0].revents & ~POLLOUT)
        err = take_output(session);
    else if (ready[0].revents & POLLOUT)
        err = send_out(session);
    if (ready[1].revents)
        take_signal(session);
    else if (ready[2].revents)
        take_stdin(session);
    return err;
}

static int carry(struct client *client, const struct client_options *options)
{
    struct session session = {.client = client, .stdin_open = true, .status = -1};
    session.signal_fd = open_signals(options->terminal);
    if (!put_start(&session, options)) {
        client_say(client, "the command is too long");
        return EXIT_USAGE;
    }
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    while (session.status < 0 && turn(&session) >= 0)
        ;
    close(session.signal_fd);
    if (session.status < 0)
        client_say(client, "the connection broke");
    return session.status < 0 ? EXIT_NOT_REACHED : session.status;
}

/* The terminal's keys are for the command's terminal, which does the rest. */
static int carry_terminal(struct client *client, const struct client_options *options)
{
    struct termios before, raw;
    bool is_terminal = options->terminal && tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_terminal) {
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    }
    int status = carry(client, options);
    if (is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    return status;
}

/* Waits for the session and opens the stream. 0 or the exit status. */
static int open_stream(struct client *client, const struct client_options *options)
{
    char question[300], answer[300];
    int timeout_ms = (int)options->timeout_s * 1000;
    snprintf(question, sizeof(question), "RUN %s", options->service ? options->service : "@run");
    if (client_ask(client, "WAIT", timeout_ms, answer, sizeof(answer)) < 0 ||
        client_ask(client, question, timeout_ms, answer, sizeof(answer)) < 0)
        return EXIT_NOT_REACHED;
    if (strcmp(answer, "OK") == 0)
        return 0;
    client_say(client, "the other end refused: %s", answer + strcspn(answer, " "));
    return EXIT_NOT_REACHED;
}

int proxy_run_command(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    int status = client_parse(argc, argv, "pckwst", &options);
    if (status >= 0)
        return status;
    if (!options.service == !*options.command) {
        fprintf(stderr, "outboard proxy run: give a command, or --service=NAME\n");
        return EXIT_USAGE;
    }
    status = client_open(argv[0], &options, &client);
    if (status == 0)
        status = open_stream(&client, &options);
    if (status == 0)
        status = carry_terminal(&client, &options);
    client_close(&client);
    return status;
}
