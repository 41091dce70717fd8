// SPDX-License-Identifier: BSD-3-Clause
/*
 * A run is WAITING for START, then RUNNING, then ENDED when the command has ended and both of its
 * outputs have; then EXIT goes out and the stream is shut down.
 *
 * Frames from the client are taken off the stream one by one; run_input.c holds STDIN until the
 * command takes it. Output is read into one frame, which is lent to the session; the next read
 * waits until it is given back.
 *
 * If the client goes away, the command and its group get SIGHUP.
 */
#include "proxy/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/command.h"
#include "endpoint/pump.h"
#include "proxy/flow.h"
#include "proxy/proxy.h"
#include "proxy/run_input.h"
#include "wire/exec.h"

enum state {
    WAITING,
    RUNNING,
    ENDED,
};

/* One output of the command. */
struct output {
    struct run *run;
    enum exec_type type;
    struct pump pump; /* without a descriptor: it has ended */
};

struct run {
    struct flow flow;
    const struct service *service; /* NULL: START names the command */
    enum state state;
    struct command_pipes pipes;
    struct run_input input;
    struct output out, err;
    struct child *child; /* NULL: not started, or ended */
    struct exec_exit exit;
    char *arguments; /* of START and before, each ended by a NUL */
    size_t arguments_len;
    int start_err;                             /* why it can't be started, found before START */
    char terminal_type[EXEC_VARIABLE_MAX + 1]; /* "TERM=..."; empty: none */
    bool err_first;                            /* whose turn it is */
    bool lent;                                 /* the session has out_frame */
    uint8_t in_frame[EXEC_FRAME_MAX];
    size_t in_frame_len; /* bytes of the client's next frame so far */
    uint8_t out_frame[EXEC_FRAME_MAX];
};

static void advance(struct run *run);

/* Its descriptor is one of run.pipes, and closed with them. */
static void end_output(struct output *output)
{
    pump_stop(&output->pump);
}

static void destroy(struct run *run, uint32_t reason)
{
    if (run->child && reason != OB_REASON_NONE)
        child_hang_up(run->child);
    child_forget(run->child);
    run_input_done(&run->input);
    end_output(&run->out);
    end_output(&run->err);
    command_pipes_close(&run->pipes);
    flow_end(&run->flow, reason);
    free(run->arguments);
    free(run);
}

static void on_exit_status(void *argument, int status)
{
    struct run *run = argument;
    run->child = NULL;
    if (child_exec_error(status))
        run->exit = (struct exec_exit){EXEC_NOT_STARTED, (uint32_t)child_exec_error(status)};
    else if (WIFSIGNALED(status))
        run->exit = (struct exec_exit){EXEC_SIGNALLED, (uint32_t)WTERMSIG(status)};
    else
        run->exit = (struct exec_exit){EXEC_EXITED, (uint32_t)WEXITSTATUS(status)};
    advance(run);
}

static void on_output_event(void *argument, uint32_t events)
{
    advance(((struct output *)argument)->run);
}

static void on_input_event(void *argument, uint32_t events)
{
    struct run *run = argument;
    if (run->input.pipe.broken)
        run_input_refuse(&run->input);
    advance(run);
}

static int watch_output(struct run *run, struct output *output, enum exec_type type, int fd)
{
    *output = (struct output){.run = run, .type = type};
    pump_init(&output->pump, fd);
    return pump_watch(&output->pump, run->flow.proxy->loop, PUMP_READS | PUMP_WRITES,
                      on_output_event, output);
}

static int watch(struct run *run)
{
    int err = watch_output(run, &run->out, EXEC_STDOUT, run->pipes.out);
    if (err == 0 && run->pipes.err >= 0)
        err = watch_output(run, &run->err, EXEC_STDERR, run->pipes.err);
    if (run->pipes.in == run->pipes.out) {
        run_input_begin_terminal(&run->input, &run->out.pump);
        return err;
    }
    run_input_begin(&run->input, take_fd(&run->pipes.in));
    return err < 0 ? err
                   : pump_watch(&run->input.pipe, run->flow.proxy->loop, PUMP_WRITES,
                                on_input_event, run);
}

/* 0, -E2BIG or -ENOMEM. */
static int add_arguments(struct run *run, const void *bytes, size_t len)
{
    if (len == 0)
        return 0;
    if (len > LIMIT_RUN_ARGUMENTS - run->arguments_len)
        return -E2BIG;
    char *grown = realloc(run->arguments, run->arguments_len + len);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + run->arguments_len, bytes, len);
    run->arguments = grown;
    run->arguments_len += len;
    return 0;
}

/* A declared command has its arguments already; those of START are variables. Other names than TERM
 * may come to be known; nobody sets LD_PRELOAD here. */
static void take_variable(struct run *run, const char *variable)
{
    if (strncmp(variable, "TERM=", strlen("TERM=")) == 0)
        snprintf(run->terminal_type, sizeof(run->terminal_type), "%s", variable);
}

static int try_start(struct run *run, const struct exec_start *start)
{
    const struct service *service = run->service;
    AUTO_FREE char **argv = command_split(run->arguments, run->arguments_len);
    if (!argv)
        return -ENOMEM;
    for (size_t i = 0; service && argv[i]; i++)
        take_variable(run, argv[i]);
    if (!service && !argv[0])
        return -EINVAL;
    const struct command command = {
        .shell = service ? service->command : NULL,
        .argv = argv,
        .service = run->flow.service,
        .terminal = start->terminal || (service && service->kind == SERVICE_TERMINAL),
        .rows = start->rows,
        .columns = start->columns,
        .open_files = run->flow.proxy->open_files,
        .terminal_type = *run->terminal_type ? run->terminal_type : NULL,
        .outside = run->flow.proxy->dialer.outside};
    proxy_log_verbose(run->flow.proxy, "running %s", service ? service->name : argv[0]);
    int err = command_start(run->flow.proxy->children, &command, &run->pipes, &run->child);
    if (err < 0)
        return err;
    child_watch(run->child, on_exit_status, run);
    return watch(run);
}

/* 0 or -EPROTO. */
static int on_start(struct run *run, const struct exec_frame *frame)
{
    struct exec_start start;
    if (run->state != WAITING || exec_get_start(frame, &start) < 0)
        return -EPROTO;
    run->state = RUNNING;
    int err = run->start_err;
    if (err == 0)
        err = add_arguments(run, start.arguments, start.arguments_len);
    if (err == 0 && run->arguments_len > 0 && run->arguments[run->arguments_len - 1] != '\0')
        return -EPROTO;
    if (err == 0)
        err = try_start(run, &start);
    free(take_ptr(&run->arguments));
    if (err < 0)
        run->exit = (struct exec_exit){EXEC_NOT_STARTED, (uint32_t)-err};
    return 0;
}

/* The part in front of START. 0 or -EPROTO. */
static int on_preface(struct run *run, const struct exec_frame *frame)
{
    if (frame->type == EXEC_VARIABLE) {
        char variable[EXEC_VARIABLE_MAX + 1];
        if (exec_get_variable(frame, variable) < 0)
            return -EPROTO;
        take_variable(run, variable);
        return 0;
    }
    if (frame->type != EXEC_ARGUMENTS || run->service)
        return -EPROTO;
    int err = add_arguments(run, frame->payload, frame->len);
    if (err < 0 && run->start_err == 0)
        run->start_err = err; /* told once START is there */
    return 0;
}

static int on_signal_frame(struct run *run, const struct exec_frame *frame)
{
    int number;
    if (exec_get_signal(frame, &number) < 0)
        return -EPROTO;
    if (run->child)
        child_signal(run->child, number);
    return 0;
}

static int on_resize(struct run *run, const struct exec_frame *frame)
{
    struct winsize size = {0};
    if (exec_get_resize(frame, &size.ws_row, &size.ws_col) < 0)
        return -EPROTO;
    if (run->pipes.out >= 0 && run->input.is_terminal)
        ioctl(run->pipes.out, TIOCSWINSZ, &size);
    return 0;
}

/* 0, -EPROTO or -ENOMEM. */
static int on_frame(struct run *run, const struct exec_frame *frame)
{
    if (run->state == WAITING && frame->type != EXEC_START)
        return on_preface(run, frame);
    switch (frame->type) {
    case EXEC_START:
        return on_start(run, frame);
    case EXEC_STDIN:
        return run_input_take(&run->input, frame->payload, frame->len);
    case EXEC_SIGNAL:
        return on_signal_frame(run, frame);
    case EXEC_RESIZE:
        return on_resize(run, frame);
    default:
        return -EPROTO;
    }
}

/* Takes frames off the stream and feeds the command. 0 or a negative errno. */
static int take_frames(struct run *run)
{
    for (run_input_feed(&run->input); !run_input_full(&run->input); run_input_feed(&run->input)) {
        struct exec_frame frame;
        ssize_t len = exec_get(run->in_frame, run->in_frame_len, &frame);
        size_t want = EXEC_HEADER_LEN;
        if (len > 0) {
            run->in_frame_len = 0;
            int err = on_frame(run, &frame);
            if (err < 0)
                return err;
            continue;
        }
        if (len == -EPROTO)
            return -EPROTO;
        if (run->in_frame_len >= EXEC_HEADER_LEN)
            want += (size_t)(run->in_frame[2] | run->in_frame[3] << 8);
        ssize_t got = ob_stream_read(run->flow.stream, run->in_frame + run->in_frame_len,
                                     want - run->in_frame_len);
        if (got == 0) /* the end of stdin is a frame, so this is the client's own */
            return -ENOTCONN;
        if (got < 0)
            return got == -EAGAIN ? 0 : (int)got;
        run->in_frame_len += (size_t)got;
    }
    return 0;
}

/* Reads an output into a frame and sends it. */
static void pump_output(struct run *run, struct output *output)
{
    uint8_t *payload = run->out_frame + EXEC_HEADER_LEN;
    if (!output->pump.readable || run->lent)
        return;
    ssize_t got = pump_read(&output->pump, payload, EXEC_PAYLOAD_MAX);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        end_output(output); /* a terminal says EIO at its end */
    } else {
        exec_put_header(output->type, (size_t)got, run->out_frame);
        run->lent =
            ob_stream_lend(run->flow.stream, run->out_frame, EXEC_HEADER_LEN + (size_t)got) == 0;
    }
}

/* Sends the client news of its input. */
static void report_input(struct run *run)
{
    if (run->lent)
        return;
    size_t len = run_input_report(&run->input, run->out_frame);
    if (len > 0)
        run->lent = ob_stream_lend(run->flow.stream, run->out_frame, len) == 0;
}

/* Frames of the client after the end are dropped, until no more come and the run is over. */
static void drain(struct run *run)
{
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(run->flow.stream, &bytes)) > 0)
        ob_stream_consume(run->flow.stream, (size_t)len);
    if (len == 0)
        destroy(run, OB_REASON_NONE);
}

static void send_exit(struct run *run)
{
    uint8_t frame[EXEC_FRAME_MAX];
    size_t len = exec_put_exit(&run->exit, frame);
    run->state = ENDED;
    ob_stream_write(run->flow.stream, frame, len);
    ob_stream_shutdown(run->flow.stream);
    drain(run);
}

/* Does the work that is possible now; the run may be gone afterwards. */
static void advance(struct run *run)
{
    if (run->state == ENDED) {
        drain(run);
        return;
    }
    if (take_frames(run) < 0) {
        destroy(run, OB_REASON_FAILED);
        return;
    }
    report_input(run);
    pump_output(run, run->err_first ? &run->err : &run->out);
    pump_output(run, run->err_first ? &run->out : &run->err);
    run->err_first = !run->err_first;
    if (run->state == RUNNING && !run->child && run->out.pump.fd < 0 && run->err.pump.fd < 0 &&
        !run->lent)
        send_exit(run);
}

static void on_readable(struct flow *flow)
{
    advance(list_entry(flow, struct run, flow));
}

static void on_writable(struct flow *flow)
{
    struct run *run = list_entry(flow, struct run, flow);
    run->lent = false;
    advance(run);
}

static void on_reset(struct flow *flow, uint32_t reason)
{
    destroy(list_entry(flow, struct run, flow), OB_REASON_CANCELLED);
}

static const struct flow_ops ops = {
    .readable = on_readable,
    .writable = on_writable,
    .reset = on_reset,
};

void run_serve(struct proxy *proxy, struct ob_stream *stream, const struct service *service,
               bool tells_input)
{
    struct run *run = calloc(1, sizeof(*run));
    if (!run ||
        flow_take(&run->flow, proxy, &ops, stream, service ? service->name : RUN_SERVICE) < 0) {
        ob_stream_refuse(stream, OB_REASON_NO_MEMORY);
        free(run);
        return;
    }
    run->service = service;
    run->pipes = (struct command_pipes){-1, -1, -1};
    run_input_init(&run->input, tells_input);
    pump_init(&run->out.pump, -1);
    pump_init(&run->err.pump, -1);
    ob_stream_accept(stream);
}
