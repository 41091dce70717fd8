// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "endpoint/outside.h"
#include "os/clock.h"
#include "os/log.h"
#include "os/socket.h"

#define BACKLOG 512

/* How long to rest, and how often to say so. */
#define REST_NS     100000000u
#define COMPLAIN_NS 10000000000u

struct acceptor {
    struct acceptor_config config;
    struct address address;
    int fd;
    uint32_t outside_id;
    struct loop_source *source;
    struct timer rest;
    uint64_t complain_at;
    bool has_reserve;
    int reserve; /* -1: none, or it is used */
};

static int bind_and_listen(const struct address *address)
{
    const int on = 1;
    struct sockaddr_storage kernel;
    int len = address_to_kernel(address, &kernel);
    AUTO_FD fd = socket(kernel.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (len < 0 || fd < 0)
        return len < 0 ? len : -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socket_refuse_fds(fd);
    if (bind(fd, (const struct sockaddr *)&kernel, (socklen_t)len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

static bool has_path(const struct address *address)
{
    return address->kind == ADDRESS_UNIX && address->name[0] != '@';
}

int acceptor_open(const struct address *address, mode_t mode)
{
    if (!has_path(address))
        return bind_and_listen(address);
    AUTO_FD fd = socket_listen(address->name, mode);
    if (fd >= 0)
        socket_refuse_fds(fd);
    if (fd >= 0 && listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

void acceptor_refill(struct acceptor *acceptor)
{
    if (acceptor->has_reserve && acceptor->reserve < 0)
        acceptor->reserve = acceptor->config.outside /* there are no paths here */
                                ? fcntl(acceptor->fd, F_DUPFD_CLOEXEC, 0)
                                : open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_rested(void *argument)
{
    struct acceptor *acceptor = argument;
    acceptor_refill(acceptor);
    loop_change(acceptor->source, EPOLLIN);
}

static void rest(struct acceptor *acceptor, int err)
{
    uint64_t now = clock_now_ns();
    if (now >= acceptor->complain_at) {
        log_line("%s: can't accept a connection: %s; trying again", acceptor->config.title,
                 strerror(-err));
        acceptor->complain_at = now + COMPLAIN_NS;
    }
    loop_change(acceptor->source, 0);
    timer_set(acceptor->config.timers, &acceptor->rest, now + REST_NS);
}

/* The descriptor of a connection, or a negative errno. */
static int take(struct acceptor *acceptor)
{
    acceptor_refill(acceptor);
    int fd = socket_accept(acceptor->fd);
    if (acceptor->reserve < 0 || (fd != -EMFILE && fd != -ENFILE))
        return fd;
    close(take_fd(&acceptor->reserve));
    return socket_accept(acceptor->fd);
}

static void on_connection(void *argument, uint32_t events)
{
    struct acceptor *acceptor = argument;
    int fd = take(acceptor);
    if (fd == -EAGAIN || fd == -ECONNABORTED || fd == -EINTR)
        return;
    if (fd < 0) {
        rest(acceptor, fd);
        return;
    }
    if (acceptor->address.kind == ADDRESS_TCP)
        socket_set_no_delay(fd);
    acceptor->config.accepted(acceptor->config.argument, fd);
}

void acceptor_free(struct acceptor *acceptor)
{
    if (!acceptor)
        return;
    if (acceptor->fd >= 0 && acceptor->config.outside)
        outside_unlisten(acceptor->config.outside, acceptor->outside_id);
    else if (acceptor->fd >= 0 && has_path(&acceptor->address))
        unlink(acceptor->address.name);
    timer_cancel(&acceptor->rest);
    loop_remove(acceptor->source);
    if (acceptor->fd >= 0)
        socket_listener_close(acceptor->fd);
    auto_close(&acceptor->reserve);
    free(acceptor);
}

int acceptor_new(const struct address *address, const struct acceptor_config *config,
                 struct acceptor **ret_acceptor)
{
    struct acceptor *acceptor = malloc(sizeof(*acceptor));
    if (!acceptor)
        return -ENOMEM;
    *acceptor = (struct acceptor){.config = *config, .address = *address, .reserve = -1};
    timer_init(&acceptor->rest, on_rested, acceptor);
    acceptor->fd = config->outside ? outside_listen(config->outside, address, &acceptor->outside_id)
                                   : acceptor_open(address, config->mode);
    int err = acceptor->fd < 0 ? acceptor->fd
                               : loop_add(config->loop, acceptor->fd, EPOLLIN, on_connection,
                                          acceptor, &acceptor->source);
    if (err < 0)
        acceptor_free(acceptor);
    else
        *ret_acceptor = acceptor;
    return err;
}

void acceptor_address(const struct acceptor *acceptor, char ret_text[ADDRESS_TEXT_MAX])
{
    struct address address = acceptor->address;
    struct sockaddr_storage kernel;
    socklen_t len = sizeof(kernel);
    if (address.kind == ADDRESS_TCP &&
        getsockname(acceptor->fd, (struct sockaddr *)&kernel, &len) == 0)
        address_from_kernel(&kernel, &address);
    address_format(&address, ret_text);
}

void acceptor_reserve(struct acceptor *acceptor)
{
    acceptor->has_reserve = true;
    acceptor_refill(acceptor);
}

bool acceptor_reserve_is_used(const struct acceptor *acceptor)
{
    return acceptor->has_reserve && acceptor->reserve < 0;
}
