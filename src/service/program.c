// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a device program: options, device, socket, READY, the peer, the end.
 *
 * A wire whose peers come and go (struct engine_ops.keeps_serving) is served until SIGTERM when the
 * program listens at a path; otherwise the program ends with its peer.
 */
#include <outboard/program.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/auto.h"
#include "os/notify.h"
#include "os/shared_memory.h"
#include "os/signals.h"
#include "os/socket.h"
#include "service/author.h"
#include "service/connection.h"
#include "service/host.h"
#include "service/options.h"
#include "service/wires.h"

#define EXIT_USAGE 2

struct service {
    const struct ob_program *program;
    struct options options;
    const struct engine_ops *wire; /* of this peer */
    struct ob_device *device;
    struct loop *loop;
    int signal_fd;
    int listen_fd;
    bool stop;      /* SIGTERM or SIGINT came */
    bool connected; /* listen_fd has somebody waiting */
};

static void say(const struct service *service, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line on stderr, which goes wherever the launcher keeps its log. */
static void say(const struct service *service, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", service->program->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static void on_signal(void *argument, uint32_t events)
{
    struct service *service = argument;
    if (signals_take(service->signal_fd) >= 0)
        service->stop = true;
}

static void on_connect(void *argument, uint32_t events)
{
    struct service *service = argument;
    service->connected = true;
}

static int prepare(struct service *service, struct ob_fault *fault)
{
    struct loop_source *source;
    int err = loop_new(&service->loop);
    if (err == 0)
        err = shared_memory_guard();
    if (err == 0)
        err = service->signal_fd = signals_new();
    if (err >= 0)
        err = loop_add(service->loop, service->signal_fd, EPOLLIN, on_signal, service, &source);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start: %s", strerror(-err));
    err = service_host_use_loop(service->device, service->loop);
    return err < 0 ? ob_fault_set(fault, err, "can't wait for what the device waits for: %s",
                                  strerror(-err))
                   : 0;
}

static void notify(const char *state, const char *detail)
{
    char text[OB_FAULT_TEXT_LEN + 32];
    snprintf(text, sizeof(text), "%sSTATUS=%s", state, detail);
    notify_send(text); /* a launcher that does not listen misses nothing it needs */
}

/* Sets service->wire: the one of the options, or else the one that the peer speaks. */
static int choose_wire(struct service *service, int fd)
{
    service->wire = service->options.wire;
    return service->wire ? 0 : wires_detect(fd, service->loop, &service->stop, &service->wire);
}

static int serve_peer(struct service *service, int fd, struct ob_fault *fault)
{
    struct engine *engine = NULL;
    int err = choose_wire(service, fd);
    if (err == -ENOTCONN || err == -ECANCELED)
        return 0; /* gone without a word, or a signal */
    if (err < 0)
        return ob_fault_set(fault, err, "the peer's socket failed: %s", strerror(-err));
    err = engine_new(service->wire, service->device, &engine, fault);
    if (err < 0)
        return err;
    err = connection_serve(fd, service->loop, engine, service->options.poll_us, &service->stop,
                           fault);
    engine_free(engine);
    return err;
}

static int serve_fd(struct service *service, struct ob_fault *fault)
{
    int fd = service->options.fd;
    int err = socket_check(fd);
    if (err < 0)
        return ob_fault_set(fault, err, "--fd=%d is not a connected stream socket: %s", fd,
                            strerror(-err));
    notify("READY=1\n", "serving");
    err = serve_peer(service, fd, fault);
    close(fd); /* now: I/O that can't be called back may keep this process from ending */
    return err;
}

/* Waits for somebody to connect. Returns the descriptor, -ECANCELED at a signal, or an errno. */
static int wait_for_peer(struct service *service)
{
    int fd = -EAGAIN;
    struct loop_source *source;
    int err = loop_add(service->loop, service->listen_fd, EPOLLIN, on_connect, service, &source);
    if (err < 0)
        return err;
    while (!service->stop && err >= 0 && (fd == -EAGAIN || fd == -ECONNABORTED)) {
        service->connected = false;
        err = loop_wait(service->loop, -1);
        if (service->connected)
            fd = socket_accept(service->listen_fd);
    }
    loop_remove(source); /* later peers wait unheard while this one is served */
    if (err < 0)
        return err;
    return fd < 0 && service->stop ? -ECANCELED : fd;
}

/* Whether the next peer may come when this one has gone, also if it went without a word. */
static bool keeps_serving(const struct service *service)
{
    return !service->wire || service->wire->keeps_serving;
}

static int accept_peers(struct service *service, struct ob_fault *fault)
{
    do {
        AUTO_FD fd = wait_for_peer(service);
        if (fd == -ECANCELED)
            return 0;
        if (fd < 0)
            return ob_fault_set(fault, fd, "can't accept a peer: %s", strerror(-fd));
        notify("", "serving");
        struct ob_fault peers_fault = {0};
        int err = serve_peer(service, fd, &peers_fault);
        if (err < 0 && keeps_serving(service)) {
            say(service, "dropped the peer: %s", peers_fault.text);
            continue;
        }
        if (err < 0)
            return ob_fault_set(fault, err, "%s", peers_fault.text);
    } while (keeps_serving(service) && !service->stop);
    return 0;
}

static int serve_path(struct service *service, struct ob_fault *fault)
{
    const char *path = service->options.socket_path;
    service->listen_fd = socket_listen(path);
    if (service->listen_fd < 0)
        return ob_fault_set(fault, service->listen_fd, "can't listen at %s: %s", path,
                            strerror(-service->listen_fd));
    notify("READY=1\n", "waiting for a peer");
    int err = accept_peers(service, fault);
    unlink(path);
    return err;
}

static int run(struct service *service, void *config, struct ob_fault *fault)
{
    int err = author_create(service->program, config, &service->device, fault);
    if (err == 0) {
        if (service->options.dma_by_messages)
            memory_never_map(&service->device->memory);
        err = prepare(service, fault);
    }
    if (err == 0)
        err = service->options.socket_path ? serve_path(service, fault) : serve_fd(service, fault);
    ob_device_free(service->device);
    if (service->device && service->program->destroy)
        service->program->destroy(config);
    loop_free(service->loop);
    return err;
}

static int serve(const struct ob_program *program, const struct options *options, void *config)
{
    struct service service = {
        .program = program, .options = *options, .signal_fd = -1, .listen_fd = -1};
    struct ob_fault fault = {0};
    int err = run(&service, config, &fault);
    auto_close(&service.listen_fd);
    auto_close(&service.signal_fd);
    notify("STOPPING=1\n", err < 0 ? fault.text : "ended");
    if (err < 0)
        say(&service, "%s", fault.text);
    else
        say(&service, "%s, ending", service.stop ? "asked to stop" : "the peer has gone");
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int ob_program_main(const struct ob_program *program, void *config, int argc, char **argv)
{
    struct options options;
    struct ob_fault fault = {0};
    int verdict = options_parse(program, config, argc, argv, &options, &fault);
    switch (verdict) {
    case OPTIONS_SERVE:
        return serve(program, &options, config);
    case OPTIONS_HELP:
        options_print_help(program);
        return EXIT_SUCCESS;
    case OPTIONS_VERSION:
        options_print_version(program);
        return EXIT_SUCCESS;
    case OPTIONS_CAPABILITIES:
        options_print_capabilities(program);
        return EXIT_SUCCESS;
    case OPTIONS_SLIP:
        fprintf(stderr, "%s: %s\n", program && program->name ? program->name : "device program",
                fault.text);
        return EXIT_FAILURE;
    default:
        fprintf(stderr, "%s: %s\n", program->name, fault.text);
        return EXIT_USAGE;
    }
}
