// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/carried.h"
#include "os/clock.h"
#include "os/closer.h"

/* Linux 6.16; the C library may be older. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* Who may wait until a listener is looked after. */
#define BACKLOG 64

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * LIMIT_FDS_PER_RECEIVE)];
};

/* Room for a message's descriptors and, if an option of the socket asks for them, the sender's credentials. */
union received_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * LIMIT_FDS_PER_MESSAGE) + CMSG_SPACE(sizeof(struct ucred))];
};

/* The errors of a peer that has gone, as one. */
static int stream_error(void)
{
    return errno == ECONNRESET || errno == EPIPE ? -ENOTCONN : -errno;
}

static void close_received(struct received_fds *fds)
{
    while (fds->count > 0)
        closer_close(fds->fd[--fds->count]);
}

/* Takes one more descriptor, unless there are too many. */
static bool take_received(struct received_fds *fds, int fd)
{
    if (fds->count == LIMIT_FDS_PER_RECEIVE) {
        closer_close(fd);
        return false;
    }
    fds->fd[fds->count++] = fd;
    return true;
}

/* Collects the descriptors of every control message. Whether all of them could be taken. */
static bool collect_fds(struct msghdr *message, struct received_fds *ret_fds)
{
    bool all = !(message->msg_flags & MSG_CTRUNC);
    struct carried carried = carried_begin(message);
    for (int fd; (fd = carried_take(&carried)) >= 0;)
        all = take_received(ret_fds, fd) && all;
    return all;
}

/* Whether the next message finds room for all that it may bring: descriptors that find none are
 * closed by the kernel, in our receive. The lowest free number is given out, so one that is high
 * tells how many are open. A process that may have few keeps half of them. */
bool socket_has_room(const struct received_fds *fds)
{
    struct rlimit limit;
    if (fds->count == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return true;
    rlim_t kept =
        limit.rlim_cur / 2 < LIMIT_FDS_PER_MESSAGE ? limit.rlim_cur / 2 : LIMIT_FDS_PER_MESSAGE;
    for (unsigned i = 0; i < fds->count; i++)
        if ((rlim_t)fds->fd[i] >= limit.rlim_cur - kept)
            return false;
    return true;
}

ssize_t socket_receive(int fd, void *buf, size_t len, struct received_fds *ret_fds)
{
    union received_control control;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ret_fds->count = 0;
    ssize_t received;
    do
        received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return stream_error();
    if (message.msg_controllen > 0 || message.msg_flags & MSG_CTRUNC) {
        bool all = collect_fds(&message, ret_fds);
        if (!all || !socket_has_room(ret_fds)) {
            close_received(ret_fds);
            return -EPROTO;
        }
    }
    return received == 0 && len > 0 ? -ENOTCONN : received;
}

static void attach_fds(struct msghdr *message, union control *control, const int *fds,
                       unsigned num_fds)
{
    memset(control, 0, sizeof(*control));
    message->msg_control = control->bytes;
    message->msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, num_fds * sizeof(int));
}

static ssize_t send_with_fds(int fd, const void *buf, size_t len, const int *fds, unsigned num_fds)
{
    union control control;
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    attach_fds(&message, &control, fds, num_fds);
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t socket_send_fds(int fd, const void *buf, size_t len, const int *fds, unsigned num_fds)
{
    assert(num_fds <= LIMIT_FDS_PER_RECEIVE);
    ssize_t sent;
    do
        sent = num_fds > 0 ? send_with_fds(fd, buf, len, fds, num_fds)
                           : send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? stream_error() : sent;
}

void socket_refuse_fds(int fd)
{
    const int off = 0;
    setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

ssize_t socket_read_pieces(int fd, const struct iovec *pieces, unsigned count)
{
    union received_control control;
    struct msghdr message = {.msg_iov = (struct iovec *)pieces,
                             .msg_iovlen = count,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (received >= 0 && message.msg_controllen > 0) {
        struct received_fds fds = {0};
        collect_fds(&message, &fds);
        close_received(&fds);
    }
    return received;
}

ssize_t socket_read(int fd, void *buf, size_t len)
{
    const struct iovec piece = {.iov_base = buf, .iov_len = len};
    return socket_read_pieces(fd, &piece, 1);
}

/* Whether a peer can have put descriptors into a socket. */
static bool may_hold_fds(int fd)
{
    int family = AF_UNSPEC, passes = 1;
    socklen_t len = sizeof(family);
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    len = sizeof(passes);
    if (family == AF_UNIX)
        getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &len);
    return family == AF_UNIX && passes;
}

/* A peer can't send to a socket that is shut down, so nothing comes behind the bytes in it. */
void socket_close(int fd)
{
    int unread = 0;
    if (!may_hold_fds(fd)) {
        close(fd);
        return;
    }
    shutdown(fd, SHUT_RDWR);
    if (ioctl(fd, SIOCINQ, &unread) < 0 || unread > 0)
        closer_close_socket(fd);
    else
        close(fd);
}

void socket_close_abruptly(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    socket_close(fd);
}

void socket_listener_close(int fd)
{
    shutdown(fd, SHUT_RDWR);
    for (int waiting = socket_accept(fd); waiting >= 0; waiting = socket_accept(fd))
        socket_close(waiting);
    close(fd);
}

ssize_t socket_peek(int fd, void *buf, size_t len)
{
    ssize_t there;
    do
        there = recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT);
    while (there < 0 && errno == EINTR);
    if (there < 0)
        return stream_error();
    return there == 0 ? -ENOTCONN : there;
}

ssize_t socket_send(int fd, const void *buf, size_t len, int fd_to_send)
{
    return socket_send_fds(fd, buf, len, &fd_to_send, fd_to_send >= 0 ? 1 : 0);
}

bool descriptor_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

bool descriptor_is_socket(int fd)
{
    int type;
    socklen_t len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

int socket_wait(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        const struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000u),
                                      .tv_nsec = (long)(left_ns % 1000000000u)};
        struct pollfd waiting = {.fd = fd, .events = events};
        int count = ppoll(&waiting, 1, &left, NULL);
        if (count > 0)
            return 0;
        if (count == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* Removes the socket that a listener of an earlier life left at the path, unless it lives. A live one must not
 * take the question for a peer: asked by a socket of another type, the kernel says that the type is
 * wrong, or that nobody is there. */
static int remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    AUTO_FD probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return -errno;
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno == EPROTOTYPE)
        return -EADDRINUSE;
    if (errno != ECONNREFUSED)
        return -errno;
    return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int fill_address(const char *path, struct sockaddr_un *ret_address)
{
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(ret_address->sun_path))
        return -ENAMETOOLONG;
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, len + 1);
    return 0;
}

/* The kernel makes the file with the permissions of the socket's own, so there is no moment at
 * which others may connect. */
static int bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
    if (fchmod(fd, mode) < 0)
        return -errno;
    mode_t old = umask(0);
    int err = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    umask(old);
    return err;
}

static int listen_as(int type, const char *path, mode_t mode)
{
    struct sockaddr_un address;
    int err = fill_address(path, &address);
    if (err == 0)
        err = remove_stale(&address);
    if (err < 0)
        return err;
    AUTO_FD fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    err = bind_with_mode(fd, &address, mode);
    if (err == 0 && listen(fd, BACKLOG) < 0)
        err = -errno;
    return err < 0 ? err : take_fd(&fd);
}

int socket_listen(const char *path, mode_t mode)
{
    return listen_as(SOCK_STREAM, path, mode);
}

int socket_listen_messages(const char *path, mode_t mode)
{
    return listen_as(SOCK_SEQPACKET, path, mode);
}

int socket_find(const char *path, struct socket_place *ret_place)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return -errno;
    *ret_place = (struct socket_place){
        .device = status.st_dev, .inode = status.st_ino, .made = status.st_mtim};
    return 0;
}

void socket_remove(const char *path, const struct socket_place *place)
{
    struct socket_place now = {0};
    if (socket_find(path, &now) == 0 && now.device == place->device && now.inode == place->inode &&
        now.made.tv_sec == place->made.tv_sec && now.made.tv_nsec == place->made.tv_nsec)
        unlink(path);
}

bool socket_listens(int fd)
{
    int listens = 0;
    socklen_t len = sizeof(listens);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens;
}

pid_t socket_peer_pid(int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

int socket_connect(const char *path, unsigned timeout_ms)
{
    struct sockaddr_un address;
    int err = fill_address(path, &address);
    if (err < 0)
        return err;
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* On a Unix socket the send timeout bounds connect() too, which else waits for ever for a
     * listener that accepts nobody. */
    const struct timeval timeout = {.tv_sec = timeout_ms / 1000,
                                    .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return take_fd(&fd);
}

int socket_connect_messages(const char *path)
{
    struct sockaddr_un address;
    int err = fill_address(path, &address);
    if (err < 0)
        return err;
    AUTO_FD fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return take_fd(&fd);
}

int socket_accept(int listener)
{
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int socket_check(int fd)
{
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return -errno;
    if (type != SOCK_STREAM)
        return -EPROTOTYPE;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    return getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ? -errno : 0;
}

void socket_set_no_delay(int fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}
