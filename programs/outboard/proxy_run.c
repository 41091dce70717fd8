// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard proxy run: a command at the other end, as if it ran here.
 *
 * Input for the proxy waits in one frame, and no other is made until it is gone; bytes of
 * the proxy are always read. So the command may fill its output while it does not read its input.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "command.h"
#include "os/socket.h"
#include "proxy/run.h"
#include "proxy_client.h"
#include "proxy_ending.h"
#include "proxy_input.h"
#include "proxy_output.h"
#include "wire/exec.h"

#define EXIT_NOT_FOUND   127
#define EXIT_NOT_STARTED 126
#define EXIT_SIGNAL      128

/* Outcomes of a turn that end the session. */
enum {
    ENDED_BY_ESCAPE = 1
};

struct session {
    struct client *client;
    const struct client_options *options;
    int version; /* of the frames that the other end knows */
    struct ending ending;
    struct input input;
    bool stdin_told;      /* the other end knows that nothing more comes */
    uint32_t under_way;   /* of version 3: bytes of standard input that are not taken yet */
    char *arguments;      /* of the command, each ended by a NUL */
    size_t arguments_len; /* still to be sent */
    char *arguments_at;   /* the first of these */
    bool term_sent, started;
    uint8_t out[EXEC_FRAME_MAX]; /* to the proxy */
    size_t out_len, out_done;
    uint8_t in[2 * EXEC_FRAME_MAX]; /* from the proxy */
    size_t in_len;
    int status; /* exit status, -1: not known yet */
};

static void put_out(struct session *session, size_t len)
{
    session->out_len = len;
    session->out_done = 0;
}

/* TERM=..., if it is to go along. */
static bool get_term(const struct client_options *options, char ret_variable[EXEC_VARIABLE_MAX + 1])
{
    const char *value = options->terminal_type;
    return options->terminal && value && *value &&
           snprintf(ret_variable, EXEC_VARIABLE_MAX + 1, "TERM=%s", value) <= EXEC_VARIABLE_MAX;
}

/* The words as one block. 0 or -ENOMEM. */
static int gather(struct session *session)
{
    char variable[EXEC_VARIABLE_MAX + 1];
    char *only[] = {variable, NULL};
    char **words = session->options->command;
    size_t len = 0;
    if (session->options->service) { /* a declared command has only this to be told */
        words = only;
        only[0] = get_term(session->options, variable) ? variable : NULL;
    }
    for (char **word = words; *word; word++)
        len += strlen(*word) + 1;
    session->arguments = session->arguments_at = malloc(len + 1);
    if (!session->arguments)
        return -ENOMEM;
    for (char **word = words; *word; word++)
        session->arguments_len +=
            strlen(strcpy(session->arguments + session->arguments_len, *word)) + 1;
    return 0;
}

static void put_start(struct session *session)
{
    struct winsize size = {0};
    struct exec_start start = {.terminal = session->options->terminal,
                               .arguments = session->arguments_at,
                               .arguments_len = session->arguments_len};
    if (start.terminal && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        start.rows = size.ws_row;
        start.columns = size.ws_col;
    }
    put_out(session, (size_t)exec_put_start(&start, session->out)); /* the rest fits */
    session->started = true;
}

/* The next frame of those that start the command. */
static void put_preface(struct session *session)
{
    char variable[EXEC_VARIABLE_MAX + 1];
    bool wants_term = session->version >= 2 && !session->options->service && !session->term_sent;
    session->term_sent = true;
    if (wants_term && get_term(session->options, variable)) {
        ssize_t len = exec_put_variable(variable, session->out);
        put_out(session, len > 0 ? (size_t)len : 0);
    } else if (session->arguments_len > EXEC_START_ARGUMENTS_MAX) {
        size_t len = session->arguments_len - EXEC_START_ARGUMENTS_MAX;
        if (len > EXEC_PAYLOAD_MAX)
            len = EXEC_PAYLOAD_MAX;
        exec_put_header(EXEC_ARGUMENTS, len, session->out);
        memcpy(session->out + EXEC_HEADER_LEN, session->arguments_at, len);
        session->arguments_at += len;
        session->arguments_len -= len;
        put_out(session, EXEC_HEADER_LEN + len);
    } else {
        put_start(session);
    }
}

static void put_signal(struct session *session)
{
    uint8_t number;
    struct winsize size;
    if (read(session->ending.fd, &number, 1) != 1)
        return;
    if (number != SIGWINCH)
        put_out(session, exec_put_signal(number, session->out));
    else if (session->options->terminal && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        put_out(session, exec_put_resize(size.ws_row, size.ws_col, session->out));
}

/* Bytes of standard input that may go in one frame now. */
static size_t stdin_room(const struct session *session)
{
    size_t room = session->version >= 3 ? EXEC_INPUT_WINDOW - session->under_way : EXEC_PAYLOAD_MAX;
    return room < EXEC_PAYLOAD_MAX ? room : EXEC_PAYLOAD_MAX;
}

static void put_stdin(struct session *session)
{
    bool end;
    size_t len =
        input_take(&session->input, session->out + EXEC_HEADER_LEN, stdin_room(session), &end);
    if (len == 0 && (!end || session->stdin_told))
        return;
    session->under_way += session->version >= 3 ? (uint32_t)len : 0;
    session->stdin_told = end; /* by a frame of no bytes */
    exec_put_header(EXEC_STDIN, len, session->out);
    put_out(session, EXEC_HEADER_LEN + len);
}

static int exit_status(const struct session *session, const struct exec_exit *exit)
{
    switch (exit->kind) {
    case EXEC_EXITED:
        return (int)(exit->status & 0xff);
    case EXEC_SIGNALLED:
        return EXIT_SIGNAL + (int)(exit->status & 0x7f);
    default:
        client_say(session->client, "can't start the command: %s", strerror((int)exit->status));
        return exit->status == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_STARTED;
    }
}

/* The command took some of its input. 0, or -EPROTO. */
static int take_taken(struct session *session, const struct exec_frame *frame)
{
    uint32_t bytes;
    if (exec_get_taken(frame, &bytes) < 0 || bytes > session->under_way)
        return -EPROTO;
    session->under_way -= bytes;
    return 0;
}

/* 0, or -EPROTO. session->status is known once the session is over. */
static int take_frame(struct session *session, const struct exec_frame *frame)
{
    struct exec_exit exit;
    int status = 0;
    switch (frame->type) {
    case EXEC_STDOUT:
    case EXEC_STDERR:
        status = output_write(session->client,
                              frame->type == EXEC_STDOUT ? STDOUT_FILENO : STDERR_FILENO,
                              frame->payload, frame->len);
        if (status != 0)
            session->status = status;
        return 0;
    case EXEC_TAKEN:
        return take_taken(session, frame);
    case EXEC_CLOSED:
        input_close(&session->input);
        return 0;
    case EXEC_EXIT:
        if (exec_get_exit(frame, &exit) < 0)
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
    struct exec_frame frame;
    ssize_t len = 0;
    size_t done = 0;
    ssize_t got = socket_read(session->client->fd, session->in + session->in_len,
                              sizeof(session->in) - session->in_len);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return -ENOTCONN;
    session->in_len += (size_t)got;
    while (session->status < 0 &&
           (len = exec_get(session->in + done, session->in_len - done, &frame)) > 0) {
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

/* Makes the next frame, if there is something to send and none waits. */
static void fill_out(struct session *session)
{
    if (session->out_len == 0 && !session->started)
        put_preface(session);
    if (session->out_len == 0)
        put_signal(session);
    if (session->out_len == 0)
        put_stdin(session);
}

/* Waits once and handles the events. 0, ENDED_BY_ESCAPE, or negative when the stream is over. */
static int turn(struct session *session)
{
    int timeout_ms;
    fill_out(session);
    bool idle = session->out_len == 0;
    bool wants_input = input_wanted(&session->input, &timeout_ms);
    struct pollfd ready[] = {
        {.fd = session->client->fd, .events = (short)(idle ? POLLIN : POLLIN | POLLOUT)},
        {.fd = idle ? session->ending.fd : -1, .events = POLLIN},
        {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
    };
    if (poll(ready, 3, timeout_ms) < 0)
        return errno == EINTR ? 0 : -errno;
    int err = 0;
    if (ready[0].revents & ~POLLOUT)
        err = take_output(session);
    else if (ready[0].revents & POLLOUT)
        err = send_out(session);
    if (ready[2].revents && input_read(&session->input) && err == 0)
        err = ENDED_BY_ESCAPE;
    return err;
}

static int carry(struct session *session)
{
    int outcome = 0;
    fcntl(session->client->fd, F_SETFL, O_NONBLOCK);
    while (session->status < 0 && outcome == 0)
        outcome = turn(session);
    ending_done(&session->ending);
    if (session->status < 0)
        client_say(session->client,
                   outcome == ENDED_BY_ESCAPE ? "ended by ~." : "the connection broke");
    if (session->status < 0 || output_close(session->client) != 0)
        return EXIT_NOT_REACHED;
    return session->status;
}

/* Once the stream is open. */
static int run(struct client *client, const struct client_options *options, int version)
{
    struct session session = {
        .client = client, .options = options, .version = version, .status = -1};
    int status = EXIT_NOT_REACHED;
    input_init(&session.input, options->terminal && isatty(STDIN_FILENO));
    session.input.nothing = client->nothing;
    int err = gather(&session);
    bool fits = version >= 2 || session.arguments_len <= EXEC_START_ARGUMENTS_MAX;
    if (err == 0 && fits)
        err = ending_begin(options->terminal, &session.ending);
    if (err < 0)
        client_say(client, "can't begin: %s", strerror(-err));
    else if (!fits)
        client_say(client, "the other end is older and takes %d bytes of arguments at most",
                   EXEC_START_ARGUMENTS_MAX);
    else
        status = carry(&session);
    free(session.arguments);
    return status;
}

/* The name that an end of this version has for the request; false: it has no own name for it. */
static bool name_service(const struct client_options *options, int version,
                         char ret_name[OB_SESSION_SERVICE_MAX + 1])
{
    static const char *const services[] = {NULL, RUN_SERVICE, RUN_SERVICE_2, RUN_SERVICE_3};
    const char *declared = options->service;
    if (!declared)
        strcpy(ret_name, services[version]);
    else if (version == 3)
        return (size_t)snprintf(ret_name, OB_SESSION_SERVICE_MAX + 1, "%s%s", RUN_SERVICE_3_PREFIX,
                                declared) <= OB_SESSION_SERVICE_MAX;
    else
        snprintf(ret_name, OB_SESSION_SERVICE_MAX + 1, "%s", declared);
    return true;
}

/* Reaches the other end, of the newest version that it has, and runs the command. The exit status.
 */
static int open_and_run(const struct client_options *options)
{
    struct client client;
    const int oldest = options->service ? 2 : 1;
    char name[OB_SESSION_SERVICE_MAX + 1];
    for (int version = 3;; version--) {
        uint32_t reason = OB_REASON_NONE;
        if (!name_service(options, version, name))
            continue;
        int status = client_open("run", options, &client);
        if (status == 0)
            status = client_open_stream(&client, "RUN", name, &reason);
        bool is_older = reason == OB_REASON_NO_SERVICE && version > oldest;
        if (status == 0)
            status = run(&client, options, version);
        else if (reason != OB_REASON_NONE && !is_older)
            client_say_refusal(&client, options->service ? options->service : RUN_SERVICE, reason);
        client_close(&client);
        if (!is_older)
            return status;
    }
}

int proxy_run_command(int argc, char **argv)
{
    struct client_options options;
    int status = client_parse(argc, argv, "xPpckwst", &options);
    if (status >= 0)
        return status;
    if (!options.service == !*options.command) {
        log_line("give a command, or --service=NAME");
        return EXIT_USAGE;
    }
    /* A cell forgets the environment. */
    const char *type = getenv("TERM");
    AUTO_FREE char *kept = type ? strdup(type) : NULL;
    options.terminal_type = kept;
    return open_and_run(&options);
}
