// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_connector.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/nbd_outside.h"
#include "block/nbd_uri.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

/* How long one address of a server is tried. */
#define CONNECT_MS 10000

#define MAX_FDS 2u

struct nbd_connector {
    int fd; /* to the process */
    struct nbd_uri uri;
};

/* A message of a byte or a text, with descriptors. */
static int send_with_fds(int socket_fd, const char *text, const int *fds, unsigned count)
{
    union {
        struct cmsghdr header;
        // cppcheck-suppress unusedStructMember ; room
        char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control = {0};
    struct iovec content = {.iov_base = (char *)text, .iov_len = strlen(text) + 1};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * count),
                                          .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
    }
    ssize_t sent = 0;
    do
        sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* ret_fds: MAX_FDS. Returns how many descriptors came, or a negative errno: -ENOTCONN at the end. */
static int receive_with_fds(int socket_fd, char *ret_text, size_t size, int *ret_fds)
{
    union {
        struct cmsghdr header;
        // cppcheck-suppress unusedStructMember ; room
        char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control = {0};
    struct iovec content = {.iov_base = ret_text, .iov_len = size - 1};
    struct msghdr message = {.msg_iov = &content,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t got = 0;
    do
        got = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 ? -errno : -ENOTCONN;
    ret_text[got] = '\0';
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t len = header->cmsg_len - CMSG_LEN(0);
    memcpy(ret_fds, CMSG_DATA(header), len);
    return (int)(len / sizeof(int));
}

/* libnbd has no use for descriptors: it would have the kernel close them in recv(2), which can wait
 * for as long as a server likes. Linux before 6.16 can't refuse them. */
static void prepare_socket(int fd, int family)
{
    const int off = 0, on = 1;
    if (family == AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Waits until a connection is made. 0 or a negative errno: -ECANCELED if the caller has gone. */
static int wait_connected(int fd, int call)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT}, {.fd = call, .events = POLLIN}};
    int ready = poll(fds, 2, CONNECT_MS);
    if (ready == 0)
        return -ETIMEDOUT;
    if (ready < 0 || fds[1].revents)
        return ready < 0 ? -errno : -ECANCELED;
    int err = 0;
    socklen_t len = sizeof(err);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

/* Returns a connected socket that does not wait, or a negative errno. */
static int connect_to(const struct sockaddr *address, socklen_t len, int call)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    prepare_socket(fd, address->sa_family);
    int err = connect(fd, address, len) < 0 ? -errno : 0;
    if (err == -EINPROGRESS)
        err = wait_connected(fd, call);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* As connect_to(), by the addresses that a name has, with a reason. */
static int connect_to_host(const struct nbd_uri *uri, int call, const char **ret_reason)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int failure = getaddrinfo(uri->host, uri->port, &hints, &list);
    if (failure != 0) {
        *ret_reason = gai_strerror(failure);
        return -EHOSTUNREACH;
    }
    int fd = -EHOSTUNREACH;
    for (const struct addrinfo *entry = list; entry && fd < 0 && fd != -ECANCELED;
         entry = entry->ai_next)
        fd = connect_to(entry->ai_addr, entry->ai_addrlen, call);
    freeaddrinfo(list);
    *ret_reason = fd < 0 ? strerror(-fd) : "";
    return fd;
}

static void answer(const struct nbd_uri *uri, int call)
{
    const char *reason = "";
    int fd = 0;
    if (uri->host[0]) {
        fd = connect_to_host(uri, call, &reason);
    } else {
        fd = connect_to((const struct sockaddr *)&uri->path, sizeof(uri->path), call);
        reason = fd < 0 ? strerror(-fd) : "";
    }
    char text[sizeof(((struct nbd_connected *)NULL)->reason)];
    snprintf(text, sizeof(text), fd < 0 ? "connect: %s" : "%s", reason);
    const int copies[MAX_FDS] = {fd, fd};
    send_with_fds(call, text, copies, fd < 0 ? 0 : MAX_FDS); /* nobody may wait any more */
    if (fd >= 0)
        close(fd);
}

static bool has_gone(int call)
{
    struct pollfd look = {.fd = call, .events = POLLIN};
    return poll(&look, 1, 0) != 0;
}

/* `outboard disk` names a socket that has no path of its own by a descriptor. -1: uri does not. */
static int named_descriptor(const struct nbd_uri *uri)
{
    int fd = -1;
    return sscanf(uri->path.sun_path, "/proc/self/fd/%d", &fd) == 1 ? fd : -1;
}

static void close_others(int fd, int other)
{
    int low = fd < other ? fd : other, high = fd < other ? other : fd;
    if (low > 0)
        syscall(SYS_close_range, 0, low - 1, 0);
    if (high > low + 1)
        syscall(SYS_close_range, low + 1, high - 1, 0);
    syscall(SYS_close_range, high + 1, ~0u, 0);
}

/* The process keeps no other descriptor: a peer, or who reads standard error, would wait for it. A
 * signal to the whole service is the device's to follow: it may need the server for its end. */
static _Noreturn void serve(int fd, const struct nbd_uri *uri)
{
    char text[2];
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int named = named_descriptor(uri);
    close_others(fd, named < 0 ? fd : named);
    nbd_outside_confine(uri, named >= 0);
    for (;;) {
        int calls[MAX_FDS];
        int count = receive_with_fds(fd, text, sizeof(text), calls);
        if (count < 0)
            _exit(EXIT_SUCCESS);
        if (count == 1 && !has_gone(calls[0]))
            answer(uri, calls[0]);
        while (count > 0)
            close(calls[--count]);
    }
}

static int start_process(struct nbd_connector *connector)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        serve(ends[1], &connector->uri);
    int err = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (err == 0)
        connector->fd = ends[0];
    else
        close(ends[0]);
    return err;
}

int nbd_connector_start(const char *uri, struct nbd_connector **ret_connector,
                        struct ob_fault *fault)
{
    struct nbd_connector *connector = calloc(1, sizeof(*connector));
    if (!connector)
        return ob_fault_set(fault, -ENOMEM, "no memory for %.100s", uri);
    int err = nbd_uri_parse(uri, &connector->uri);
    if (err < 0)
        ob_fault_set(fault, err,
                     "got '%.100s', expected nbd://HOST[:PORT][/EXPORT] or "
                     "nbd+unix:///[EXPORT]?socket=PATH",
                     uri);
    else
        err = start_process(connector);
    if (err < 0) {
        free(connector);
        return ob_fault_set(fault, err, "can't start the connector of %.100s: %s", uri,
                            strerror(-err));
    }
    *ret_connector = connector;
    return 0;
}

const char *nbd_connector_export(const struct nbd_connector *connector)
{
    return connector->uri.export;
}

int nbd_connector_call(const struct nbd_connector *connector)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    int err = send_with_fds(connector->fd, "", &ends[1], 1);
    close(ends[1]);
    if (err == 0)
        return ends[0];
    close(ends[0]);
    return err;
}

void nbd_connector_await(int call, struct nbd_connected *ret_connected)
{
    int fds[MAX_FDS] = {-1, -1};
    int count = receive_with_fds(call, ret_connected->reason, sizeof(ret_connected->reason), fds);
    if (count < 0)
        snprintf(ret_connected->reason, sizeof(ret_connected->reason),
                 "the process that connects has given up");
    ret_connected->fd = fds[0];
    ret_connected->copy = fds[1];
}

void nbd_connector_free(struct nbd_connector *connector)
{
    if (!connector)
        return;
    close(connector->fd);
    free(connector);
}
