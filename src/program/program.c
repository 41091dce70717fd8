// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a device program, as a story of stages.
 *
 * Options: the command line is read. Nothing is opened but descriptors 0 to 2 and the log. Descriptors that the
 * launcher has left open without need are closed.
 *
 * Open: all that has a path or a name becomes a descriptor: the launcher's notify socket, what the
 * author opens (images, libraries, connections), the trace, the listener. Handlers of signals are
 * set, the loop is made, and libraries read what they read once. Nothing runs but this thread:
 * open() of an author may leave none behind. (The kernel may count a thread that was joined for
 * some microseconds more.)
 *
 * Cell: the process is confined, if options ask for it (sandbox/cell.h). It has no other thread,
 * has used no ring, and has read no byte of a peer. From here on it opens no path, connects to
 * nothing and starts no program. A child removes the socket at the end, since no path leads there
 * any more.
 *
 * Threads: the thread that closes what peers send is started, and timers for signals to it are made. Then only calls of
 * the policy are left.
 *
 * Create: the device is made from what is open. Then the calls that only this stage needs end.
 *
 * Take over: if the launcher has given a vault (life.h) and there was a process before, the device
 * becomes that one's, and its VMM is served further. A spare process waits here until the one before
 * has died.
 *
 * Serve: READY is told, and now the first byte of a peer is read. A program that listens, at a path
 * or on a socket that its launcher has opened, serves one peer after the other until SIGTERM comes,
 * whatever they send. With the socket of a peer it ends with that peer.
 *
 * End: the socket goes first. A file of a peer that can't be closed keeps this process, and what it
 * has open then, from ending. Then the rest is undone in reverse order.
 */
#include <outboard/program.h>
#include <outboard/vault.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fault_point.h"
#include "base/printable.h"
#include "os/closer.h"
#include "os/inherited.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/signals.h"
#include "os/socket.h"
#include "os/standard_output.h"
#include "program/author.h"
#include "program/candidates.h"
#include "program/connection.h"
#include "program/host.h"
#include "program/life.h"
#include "program/options.h"
#include "program/orders.h"
#include "program/process.h"
#include "program/program_cell.h"
#include "program/socket_remover.h"
#include "program/statistics_page.h"
#include "program/watchdog.h"
#include "program/wires.h"
#include "server/greeting.h"

#define EXIT_USAGE 2
#define WAITING    "waiting for a peer"

struct program {
    const struct ob_program *author;
    void *config;
    struct options options;
    int notify_fd; /* -1: no launcher listens */
    bool opened;   /* author->open() has been */
    struct confinement cell;
    struct life life;
    bool is_heir; /* the connection is still that of the process before, which may live */
    bool has_closer;
    int remover_fd; /* -1: the socket is removed here */
    struct trace trace;
    int socket_fd; /* the peer's, or a listener; -1: not open, or closed again */
    bool listens;
    struct socket_place place; /* of a listener at options.socket_path */
    struct loop *loop;
    int signal_fd;
    struct watchdog watchdog;
    struct orders orders;
    struct hold hold;
    struct statistics *statistics; /* NULL: the launcher wants none */
    struct ob_device *device;
    bool stop; /* SIGTERM or SIGINT came */
};

static void notify(const struct program *program, const char *state, const char *detail)
{
    char line[OB_FAULT_TEXT_LEN], text[OB_FAULT_TEXT_LEN + 32];
    printable_copy(line, sizeof(line), detail, strlen(detail)); /* a newline begins the next one */
    snprintf(text, sizeof(text), "%sSTATUS=%s", state, line);
    /* A launcher that does not listen misses nothing it needs. */
    notify_send_to(program->notify_fd, text);
}

static void on_signal(void *argument, uint32_t events)
{
    struct program *program = argument;
    if (signals_take(program->signal_fd) >= 0)
        program->stop = true;
}

static int listen_at_path(struct program *program, struct ob_fault *fault)
{
    const char *path = program->options.socket_path;
    AUTO_FD fd = socket_listen(path, program->options.socket_mode);
    int err = fd < 0 ? fd : socket_find(path, &program->place);
    if (err < 0)
        return ob_fault_set(fault, err, "can't listen at %s: %s", path, strerror(-err));
    program->listens = true;
    program->socket_fd = take_fd(&fd);
    return 0;
}

/* An open socket: the peer's, or one that listens. */
static int take_socket(struct program *program, struct ob_fault *fault)
{
    int fd = program->options.fd;
    program->listens = socket_listens(fd);
    if (!program->listens) {
        int err = socket_check(fd);
        if (err < 0)
            return ob_fault_set(fault, err, "--fd=%d is not a connected stream socket: %s", fd,
                                strerror(-err));
    } else {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return ob_fault_set(fault, -errno, "--fd=%d: %s", fd, strerror(errno));
    }
    program->socket_fd = fd;
    return 0;
}

static int open_loop(struct program *program, struct ob_fault *fault)
{
    struct loop_source *source;
    int err = loop_new(&program->loop);
    if (err == 0)
        err = process_prepare();
    if (err == 0)
        err = program->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(program->loop, program->signal_fd, EPOLLIN, on_signal, program, &source);
    return err < 0 ? ob_fault_set(fault, err, "can't start: %s", strerror(-err)) : 0;
}

static int open_all(struct program *program, struct ob_fault *fault)
{
    const char *trace = program->options.trace;
    int err = life_open(&program->life, fault);
    program->is_heir = ob_vault_role() == OB_VAULT_SUCCESSOR;
    if (err == 0)
        err = author_open(program->author, program->config, fault);
    program->opened = err == 0;
    if (err == 0 && (trace || program->orders.fd >= 0 || program->life.vault))
        err = trace_open(&program->trace, trace ? trace : "", program->author->name, fault);
    if (err == 0)
        err = open_loop(program, fault);
    if (err == 0)
        err = program->options.socket_path ? listen_at_path(program, fault)
                                           : take_socket(program, fault);
    if (err == 0 && watchdog_begin(&program->watchdog, program->loop, program->notify_fd) < 0)
        err = ob_fault_set(fault, -EMFILE, "can't make a timer for the launcher's watchdog");
    if (err == 0 &&
        orders_begin(&program->orders, program->loop, program->orders.fd, program->notify_fd) < 0)
        err = ob_fault_set(fault, -EMFILE, "can't wait for the launcher's orders");
    return err;
}

/* The last that needs paths, then the cell. */
static int enter_cell(struct program *program, struct ob_fault *fault)
{
    int err = program_cell_prepare(&program->cell, program->author, program->config,
                                   &program->options, program->notify_fd, fault);
    if (err < 0 || !program->cell.policy)
        return err < 0 ? err : life_start_keeper(&program->life, &program->cell, fault);
    if (program->options.socket_path) {
        err = socket_remover_start(program->options.socket_path, &program->place);
        if (err < 0)
            return ob_fault_set(fault, err, "can't start the process that removes the socket: %s",
                                strerror(-err));
        program->remover_fd = err;
    }
    log_prepare();
    err = program_cell_leave(&program->cell, program->author, fault);
    return err < 0 ? err : life_start_keeper(&program->life, &program->cell, fault);
}

static int start_threads(struct program *program, struct ob_fault *fault)
{
    program->has_closer = true;
    int err = process_start_program_threads();
    return err < 0 ? ob_fault_set(fault, err, "can't start a thread: %s", strerror(-err)) : 0;
}

static int create(struct program *program, struct ob_fault *fault)
{
    int err = author_create(program->author, program->config, &program->device, fault);
    if (err < 0)
        return err;
    device_set_statistics(program->device, program->statistics);
    if (program->options.dma_by_messages)
        memory_never_map(device_memory(program->device));
    if (program->options.has_pci_id)
        device_set_pci_ids(program->device, program->options.vendor_id, program->options.device_id);
    program_host_trace(program->device, &program->trace);
    device_trace(program->device, program->options.trace);
    program->orders.device = program->device;
    program->orders.trace = &program->trace;
    program->orders.hold = &program->hold;
    err = program_host_use_loop(program->device, program->loop);
    if (err < 0)
        return ob_fault_set(fault, err, "can't watch the device's descriptors: %s", strerror(-err));
    if (program->life.waits)
        notify(program, "X_OUTBOARD_WAITING=1\n", "waiting for its turn");
    err = life_wait(&program->life, fault);
    return err < 0 ? err : life_take_over(&program->life, program->device, fault);
}

/* Serves the peer on fd until it goes; `past`: further, as it was served before. */
static int serve_further(struct program *program, int fd, const struct engine_ops *wire,
                         const struct engine_past *past, struct ob_fault *fault)
{
    struct engine *engine = NULL;
    int err = engine_new(wire, program->device, &engine, fault);
    if (err == 0 && past)
        err = engine_resume(engine, program->life.vault, past, fault);
    else if (err == 0)
        life_connect(&program->life, fd, greeting_number(wire));
    if (err < 0) {
        if (!program->is_heir) /* else see leave_to_next() */
            engine_free(engine);
        return err;
    }
    program->is_heir = false;
    if (past) {
        fault_point("before-ready");
        notify(program, "READY=1\n", "serving further");
    }
    err = connection_serve(fd, program->loop, engine, program->options.poll_us, &program->stop,
                           &program->hold, fault);
    engine_free(engine);
    if (err < 0 && past && program->listens) { /* it ends no more than that of another peer does */
        log_line("dropped the peer: %s", fault->text);
        return 0;
    }
    return err;
}

static int serve_peer(struct program *program, int fd, const struct engine_ops *wire,
                      struct ob_fault *fault)
{
    if (program->life.vault)
        counted_begin(life_counted(program->life.vault));
    return serve_further(program, fd, wire, NULL, fault);
}

/* Continues for the process before. */
static int serve_resumed(struct program *program, struct ob_fault *fault)
{
    unsigned wire;
    int fd = life_connection(&program->life, &wire, fault);
    if (fd < 0)
        return fd;
    if (!greeting_wire(wire) || !descriptor_is_socket(fd))
        return ob_fault_set(fault, -EINVAL, "the vault's connection is no socket");
    program->life.resumes = false;
    log_keep_off(fd);
    log_never_wait();
    log_line("continues for the process before (number %llu)",
             (unsigned long long)program->life.number);
    int err = serve_further(program, fd, greeting_wire(wire), &program->life.past, fault);
    if (!program->is_heir)
        socket_close(fd);
    return err;
}

/* Serves the only peer that there will be. */
static int serve_connected(struct program *program, struct ob_fault *fault)
{
    const struct engine_ops *wire = program->options.wire;
    int fd = program->socket_fd, err = 0;
    log_keep_off(fd);
    log_never_wait();
    notify(program, "READY=1\nX_OUTBOARD_CLIENT=1\n", "serving");
    if (!wire)
        err = wires_detect(fd, program->loop, &program->stop, &wire, fault);
    if (err == 0)
        return serve_peer(program, fd, wire, fault);
    return err == -ENOTCONN || err == -ECANCELED ? 0 : err; /* gone without a word, or a signal */
}

static void on_refused(void *argument, pid_t pid)
{
    log_line("told pid %d that the device is busy (reported once for each VMM)", (int)pid);
}

/* Serves one who has come. Nothing that it does ends the program. */
static void serve_chosen(struct program *program, const struct chosen *chosen)
{
    const struct engine_ops *wire = program->options.wire ? program->options.wire : chosen->wire;
    struct ob_fault fault = {0};
    char status[64], who[32] = "a VMM";
    if (chosen->pid > 0)
        snprintf(who, sizeof(who), "pid %d", (int)chosen->pid);
    snprintf(status, sizeof(status), "serving %s over %s", who, wire->wire);
    log_line("a VMM has come: %s", status);
    notify(program, "X_OUTBOARD_CLIENT=1\n", status);
    int err = serve_peer(program, chosen->fd, wire, &fault);
    if (err < 0)
        log_line("dropped the peer: %s", fault.text);
    else if (!program->stop)
        log_line("the VMM has gone");
    if (!program->stop)
        notify(program, "X_OUTBOARD_CLIENT=0\n", WAITING);
    socket_close(chosen->fd);
}

/* Serves one VMM after the other until a signal comes. */
static int serve_listener(struct program *program, struct ob_fault *fault)
{
    struct candidates *candidates = NULL;
    struct chosen chosen;
    int err = candidates_new(program->loop, program->socket_fd, on_refused, program, &candidates);
    log_never_wait();
    if (err == 0)
        notify(program, "READY=1\n", WAITING);
    while (err == 0 && !program->stop) {
        err = candidates_wait(candidates, &program->stop, &chosen);
        if (err == 0)
            serve_chosen(program, &chosen);
    }
    candidates_free(candidates);
    return err < 0 && err != -ECANCELED
               ? ob_fault_set(fault, err, "can't wait for a peer: %s", strerror(-err))
               : 0;
}

static void close_socket(struct program *program)
{
    int fd = take_fd(&program->socket_fd);
    if (fd < 0)
        return;
    if (program->options.socket_path) {
        if (program->remover_fd >= 0)
            socket_remover_finish(take_fd(&program->remover_fd));
        else
            socket_remove(program->options.socket_path, &program->place);
        socket_listener_close(fd);
    } else if (program->listens) {
        closer_close(fd); /* it may be the launcher's too, so it is not shut down */
    } else {
        socket_close(fd);
    }
}

/* Work of the device that outlives its last VMM, such as a flush, ends too. */
static void let_go(struct program *program)
{
    int err = 0;
    while (program->device && err >= 0 && !device_leave(program->device))
        err = loop_wait(program->loop, device_poll(program->device) ? 0 : -1);
}

static void end(struct program *program)
{
    close_socket(program);
    let_go(program);
    ob_device_free(program->device);
    if (program->device && program->author->destroy)
        program->author->destroy(program->config);
    if (program->opened && program->author->close)
        program->author->close(program->config);
    watchdog_end(&program->watchdog);
    orders_end(&program->orders);
    loop_free(program->loop);
    trace_close(&program->trace);
    statistics_page_close(program->statistics);
    if (program->has_closer)
        closer_stop(CLOSER_PATIENCE_MS);
    life_end(&program->life);
    auto_close(&program->signal_fd);
    auto_close(&program->remover_fd);
}

/* This process can't continue, but another one may. The keeper has this process's table of
 * descriptors, so nothing is closed here, and the connection is not shut down. */
noreturn static void leave_to_next(const struct program *program, const struct ob_fault *fault)
{
    notify(program, "", fault->text);
    log_line("%s", fault->text);
    _exit(EXIT_FAILURE);
}

static int run(struct program *program, struct ob_fault *fault)
{
    int err = open_all(program, fault);
    if (err == 0)
        err = enter_cell(program, fault);
    if (err == 0)
        err = start_threads(program, fault);
    if (err == 0)
        err = confine_close(&program->cell, fault);
    if (err == 0)
        err = create(program, fault);
    if (err == 0)
        err = confine_settle(&program->cell, fault);
    bool resumes = err == 0 && program->life.resumes;
    if (resumes)
        err = serve_resumed(program, fault);
    else if (err == 0)
        program->is_heir = false;
    if (err == 0 && (program->listens || !resumes))
        err = program->listens ? serve_listener(program, fault) : serve_connected(program, fault);
    if (err < 0 && program->is_heir)
        leave_to_next(program, fault);
    end(program);
    return err;
}

static int serve(const struct ob_program *author, const struct options *options, void *config,
                 struct statistics *statistics, int orders_fd)
{
    struct program program = {.author = author,
                              .config = config,
                              .options = *options,
                              .statistics = statistics,
                              .notify_fd = -1,
                              .remover_fd = -1,
                              .socket_fd = -1,
                              .signal_fd = -1,
                              .watchdog.ticker_fd = -1,
                              .orders = {.fd = orders_fd, .ticker_fd = -1, .file_fd = -1}};
    struct ob_fault fault = {0};
    notify_connect(&program.notify_fd); /* a launcher that can't be reached misses nothing either */
    int err = run(&program, &fault);
    notify(&program, "STOPPING=1\n", err < 0 ? fault.text : "ended");
    auto_close(&program.notify_fd);
    if (err < 0)
        log_line("%s", fault.text);
    else
        log_line("%s, ending", program.stop ? "asked to stop" : "the peer has gone");
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print_cell(const struct ob_program *author, const struct options *options, void *config)
{
    struct confinement cell;
    struct ob_fault fault = {0};
    if (program_cell_prepare(&cell, author, config, options, -1, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    confine_print(&cell);
    return standard_output_end(EXIT_SUCCESS);
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
    struct statistics *statistics = statistics_page_open(); /* closes its descriptor */
    int orders_fd = orders_take();
    inherited_close(argc, argv, getenv(VAULT_VARIABLE));
    if (program && !is_read) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    program = program ? &own : NULL;
    int verdict = options_parse(program, config, argc, argv, &options, &fault);
    switch (verdict) {
    case OPTIONS_SERVE:
        return serve(program, &options, config, statistics, orders_fd);
    case OPTIONS_HELP:
        options_print_help(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_VERSION:
        options_print_version(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_CAPABILITIES:
        options_print_capabilities(program);
        return standard_output_end(EXIT_SUCCESS);
    case OPTIONS_CELL:
        return print_cell(program, &options, config);
    case OPTIONS_SLIP:
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    default:
        log_line("%s", fault.text);
        return EXIT_USAGE;
    }
}
