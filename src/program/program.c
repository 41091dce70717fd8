// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a device program: options, device, socket, READY, the peer, the end.
 *
 * A program that listens, at a path or on a socket that its launcher has opened, serves one peer
 * after the other until SIGTERM comes, whatever they send. With the socket of a peer it ends with
 * that peer.
 */
#include <outboard/program.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/printable.h"
#include "os/closer.h"
#include "os/event.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/shared_memory.h"
#include "os/signals.h"
#include "os/socket.h"
#include "os/standard_output.h"
#include "program/author.h"
#include "program/candidates.h"
#include "program/connection.h"
#include "program/host.h"
#include "program/options.h"
#include "program/wires.h"

#define EXIT_USAGE 2
#define WAITING    "waiting for a peer"

struct service {
    const struct ob_program *program;
    struct options options;
    struct trace trace;
    struct ob_device *device;
    struct loop *loop;
    int signal_fd;
    bool stop; /* SIGTERM or SIGINT came */
};

static void on_signal(void *argument, uint32_t events)
{
    struct service *service = argument;
    if (signals_take(service->signal_fd) >= 0)
        service->stop = true;
}

/* All that must be there before the first byte of a peer is read. The thread that closes what peers
 * send is made here and nowhere else. */
static int prepare(struct service *service, struct ob_fault *fault)
{
    struct loop_source *source;
    event_prepare();
    int err = closer_start();
    if (err == 0)
        err = loop_new(&service->loop);
    if (err == 0)
        err = shared_memory_guard();
    if (err == 0)
        err = service->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(service->loop, service->signal_fd, EPOLLIN, on_signal, service, &source);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start: %s", strerror(-err));
    err = program_host_use_loop(service->device, service->loop);
    return err < 0 ? ob_fault_set(fault, err, "can't wait for what the device waits for: %s",
                                  strerror(-err))
                   : 0;
}

static void notify(const char *state, const char *detail)
{
    char line[OB_FAULT_TEXT_LEN], text[OB_FAULT_TEXT_LEN + 32];
    printable_copy(line, sizeof(line), detail, strlen(detail)); /* a newline begins the next one */
    snprintf(text, sizeof(text), "%sSTATUS=%s", state, line);
    notify_send(text); /* a launcher that does not listen misses nothing it needs */
}

/* Serves the peer on fd until it goes. */
static int serve_peer(struct service *service, int fd, const struct engine_ops *wire,
                      struct ob_fault *fault)
{
    struct engine *engine = NULL;
    int err = engine_new(wire, service->device, &engine, fault);
    if (err < 0)
        return err;
    err = connection_serve(fd, service->loop, engine, service->options.poll_us, &service->stop,
                           fault);
    engine_free(engine);
    return err;
}

/* Serves the only peer that there will be. */
static int serve_connected(struct service *service, int fd, struct ob_fault *fault)
{
    const struct engine_ops *wire = service->options.wire;
    int err = socket_check(fd);
    if (err < 0)
        return ob_fault_set(fault, err, "--fd=%d is not a connected stream socket: %s", fd,
                            strerror(-err));
    log_keep_off(fd);
    log_never_wait();
    notify("READY=1\n", "serving");
    if (!wire)
        err = wires_detect(fd, service->loop, &service->stop, &wire);
    if (err == 0)
        err = serve_peer(service, fd, wire, fault);
    else if (err == -ENOTCONN || err == -ECANCELED)
        err = 0; /* gone without a word, or a signal */
    else
        ob_fault_set(fault, err, "the peer's socket failed: %s", strerror(-err));
    socket_close(fd); /* now: I/O that can't be called back may keep this process from ending */
    return err;
}

static void on_refused(void *argument, pid_t pid)
{
    log_line("told pid %d that the device is busy (said once for each VMM)", (int)pid);
}

/* Serves one who has come. Nothing that it does ends the program. */
static void serve_chosen(struct service *service, const struct chosen *chosen)
{
    const struct engine_ops *wire = service->options.wire ? service->options.wire : chosen->wire;
    struct ob_fault fault = {0};
    char status[64], who[32] = "a VMM";
    if (chosen->pid > 0)
        snprintf(who, sizeof(who), "pid %d", (int)chosen->pid);
    snprintf(status, sizeof(status), "serving %s over %s", who, wire->wire);
    log_line("a VMM has come: %s", status);
    notify("", status);
    int err = serve_peer(service, chosen->fd, wire, &fault);
    if (err < 0)
        log_line("dropped the peer: %s", fault.text);
    else if (!service->stop)
        log_line("the VMM has gone");
    if (!service->stop)
        notify("", WAITING);
    socket_close(chosen->fd);
}

/* Serves whoever connects to listen_fd, one at a time, until a signal comes. */
static int serve_listener(struct service *service, int listen_fd, struct ob_fault *fault)
{
    struct candidates *candidates = NULL;
    struct chosen chosen;
    int err = candidates_new(service->loop, listen_fd, on_refused, service, &candidates);
    log_never_wait();
    if (err == 0)
        notify("READY=1\n", WAITING);
    while (err == 0 && !service->stop) {
        err = candidates_wait(candidates, &service->stop, &chosen);
        if (err == 0)
            serve_chosen(service, &chosen);
    }
    candidates_free(candidates);
    return err < 0 && err != -ECANCELED
               ? ob_fault_set(fault, err, "can't wait for a peer: %s", strerror(-err))
               : 0;
}

static int serve_path(struct service *service, struct ob_fault *fault)
{
    const char *path = service->options.socket_path;
    struct socket_place place;
    int listen_fd = socket_listen(path, service->options.socket_mode);
    int err = listen_fd < 0 ? listen_fd : socket_find(path, &place);
    if (err < 0) {
        auto_close(&listen_fd);
        return ob_fault_set(fault, err, "can't listen at %s: %s", path, strerror(-err));
    }
    err = serve_listener(service, listen_fd, fault);
    /* By hand, and before all else: a file of a peer that can't be closed keeps this process, and
     * what it has open then, from ending. */
    socket_remove(path, &place);
    socket_listener_close(listen_fd);
    return err;
}

/* An open socket: the peer's, or one that listens. */
static int serve_fd(struct service *service, struct ob_fault *fault)
{
    int fd = service->options.fd;
    if (!socket_listens(fd))
        return serve_connected(service, fd, fault);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return ob_fault_set(fault, -errno, "--fd=%d: %s", fd, strerror(errno));
    int err = serve_listener(service, fd, fault);
    closer_close(fd); /* it may be the launcher's too, so it is not shut down */
    return err;
}

static int start_trace(struct service *service, struct ob_fault *fault)
{
    if (!service->options.trace)
        return 0;
    int err = trace_open(&service->trace, service->options.trace, service->program->name, fault);
    if (err == 0)
        program_host_trace(service->device, &service->trace);
    return err;
}

static int run(struct service *service, void *config, struct ob_fault *fault)
{
    int err = author_create(service->program, config, &service->device, fault);
    if (err == 0) {
        if (service->options.dma_by_messages)
            memory_never_map(device_memory(service->device));
        err = start_trace(service, fault);
    }
    if (err == 0)
        err = prepare(service, fault);
    if (err == 0)
        err = service->options.socket_path ? serve_path(service, fault) : serve_fd(service, fault);
    ob_device_free(service->device);
    if (service->device && service->program->destroy)
        service->program->destroy(config);
    loop_free(service->loop);
    trace_close(&service->trace);
    closer_stop();
    return err;
}

static int serve(const struct ob_program *program, const struct options *options, void *config)
{
    struct service service = {.program = program, .options = *options, .signal_fd = -1};
    struct ob_fault fault = {0};
    int err = run(&service, config, &fault);
    auto_close(&service.signal_fd);
    notify("STOPPING=1\n", err < 0 ? fault.text : "ended");
    if (err < 0)
        log_line("%s", fault.text);
    else
        log_line("%s, ending", service.stop ? "asked to stop" : "the peer has gone");
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

void ob_log(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line_args(format, args);
    va_end(args);
}

int ob_program_main(const struct ob_program *program, void *config, int argc, char **argv)
{
    struct options options;
    struct ob_program own;
    struct ob_fault fault = {0};
    bool is_read = program && author_read(program, &own, &fault) == 0;
    if (log_start(is_read && own.name ? own.name : "device program") < 0)
        return EXIT_FAILURE;
    if (program && !is_read) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    program = program ? &own : NULL;
    int verdict = options_parse(program, config, argc, argv, &options, &fault);
    switch (verdict) {
    case OPTIONS_SERVE:
        return serve(program, &options, config);
    case OPTIONS_HELP:
        options_print_help(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_VERSION:
        options_print_version(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_CAPABILITIES:
        options_print_capabilities(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_SLIP:
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    default:
        log_line("%s", fault.text);
        return EXIT_USAGE;
    }
}
