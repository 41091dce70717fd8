// SPDX-License-Identifier: BSD-3-Clause
/* System calls, and a few functions of src/os and beside, that the linker replaces by the model's
 * (kernel_model.h). The real ones take descriptors that are not the model's. */
#include "kernel_model.h"

#include "os/socket.h"
#include "proxy/channel_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* What a peer with a port of its own listens at, when asked for port 0. */
#define SOME_PORT 40000

#define WRAP(result, name, ...)                                                                    \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

static int told(ssize_t result)
{
    if (result >= 0)
        return (int)result;
    errno = (int)-result;
    return -1;
}

static struct end *end_of(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    return descriptor ? descriptor->end : NULL;
}

WRAP(int, close, int fd)
{
    if (fd < KERNEL_FD_FIRST)
        return __real_close(fd);
    kernel_close(fd);
    return 0;
}

WRAP(ssize_t, read, int fd, void *bytes, size_t len)
{
    if (fd < KERNEL_FD_FIRST)
        return __real_read(fd, bytes, len);
    return end_of(fd) ? told(end_read(end_of(fd), bytes, len, false)) : told(-ENOTCONN);
}

WRAP(ssize_t, write, int fd, const void *bytes, size_t len)
{
    if (fd < KERNEL_FD_FIRST)
        return __real_write(fd, bytes, len);
    return end_of(fd) ? told(end_write(end_of(fd), bytes, len)) : told(-ENOTCONN);
}

WRAP(ssize_t, writev, int fd, const struct iovec *spans, int count)
{
    ssize_t total = 0;
    if (fd < KERNEL_FD_FIRST)
        return __real_writev(fd, spans, count);
    for (int i = 0; i < count; i++) {
        ssize_t put = write(fd, spans[i].iov_base, spans[i].iov_len);
        if (put < 0)
            return total ? total : -1;
        total += put;
        if ((size_t)put < spans[i].iov_len)
            break;
    }
    return total;
}

WRAP(ssize_t, send, int fd, const void *bytes, size_t len, int flags)
{
    return fd < KERNEL_FD_FIRST ? __real_send(fd, bytes, len, flags) : write(fd, bytes, len);
}

WRAP(ssize_t, recv, int fd, void *bytes, size_t len, int flags)
{
    if (fd < KERNEL_FD_FIRST)
        return __real_recv(fd, bytes, len, flags);
    return end_of(fd) ? told(end_read(end_of(fd), bytes, len, flags & MSG_PEEK)) : told(-ENOTCONN);
}

/* A pipe and a terminal are no sockets. */
WRAP(ssize_t, recvmsg, int fd, struct msghdr *message, int flags)
{
    const struct end *end = end_of(fd);
    if (fd < KERNEL_FD_FIRST)
        return __real_recvmsg(fd, message, flags);
    if (!end || end->kind > END_UNIX)
        return told(-ENOTSOCK);
    message->msg_controllen = 0;
    message->msg_flags = 0;
    return read(fd, message->msg_iov->iov_base, message->msg_iov->iov_len);
}

WRAP(int, shutdown, int fd, int how)
{
    struct end *end = end_of(fd);
    if (fd < KERNEL_FD_FIRST)
        return __real_shutdown(fd, how);
    if (!end)
        return told(-ENOTCONN);
    end_shutdown(end);
    if (how == SHUT_RDWR)
        end->ended = true;
    return 0;
}

WRAP(int, socket, int domain, int type, int protocol)
{
    return kernel_ops ? told(kernel_open(DESCRIPTOR_SOCKET, domain))
                      : __real_socket(domain, type, protocol);
}

static void keep_address(struct descriptor *descriptor, const struct sockaddr *address,
                         socklen_t len)
{
    memset(&descriptor->address, 0, sizeof(descriptor->address));
    memcpy(&descriptor->address, address,
           len < sizeof(descriptor->address) ? len : sizeof(descriptor->address));
}

WRAP(int, connect, int fd, const struct sockaddr *address, socklen_t len)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_connect(fd, address, len);
    keep_address(descriptor, address, len);
    int err = kernel_ops->connect(fd);
    if (err == -EINPROGRESS)
        descriptor->kind = DESCRIPTOR_CONNECTING;
    return told(err);
}

static int listen_error(void)
{
    static const int errors[] = {0, EADDRINUSE, EACCES, EADDRNOTAVAIL};
    uint8_t choice = kernel_ops->choose();
    return choice >= 0xf0 ? -errors[choice % 4] : 0;
}

WRAP(int, bind, int fd, const struct sockaddr *address, socklen_t len)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_bind(fd, address, len);
    keep_address(descriptor, address, len);
    return told(listen_error());
}

WRAP(int, listen, int fd, int backlog)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_listen(fd, backlog);
    descriptor->kind = DESCRIPTOR_LISTENER;
    return 0;
}

WRAP(int, socket_listen, const char *path, mode_t mode)
{
    if (!kernel_ops)
        return __real_socket_listen(path, mode);
    int err = listen_error();
    int fd = err < 0 ? err : kernel_open(DESCRIPTOR_LISTENER, AF_UNIX);
    if (fd < 0)
        return fd;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    memcpy(&kernel_find(fd)->address, &address, sizeof(address));
    return fd;
}

WRAP(int, accept4, int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_accept4(fd, address, len, flags);
    if (descriptor->kind != DESCRIPTOR_LISTENER || descriptor->count == 0)
        return told(-EAGAIN);
    int accepted = kernel_open(DESCRIPTOR_END, descriptor->family);
    if (accepted < 0)
        return told(accepted);
    kernel_attach(accepted, descriptor->waiting[0]);
    kernel.progress++;
    descriptor->count--;
    memmove(descriptor->waiting, descriptor->waiting + 1,
            descriptor->count * sizeof(descriptor->waiting[0]));
    return accepted;
}

WRAP(int, getsockname, int fd, struct sockaddr *address, socklen_t *len)
{
    const struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_getsockname(fd, address, len);
    struct sockaddr_storage kept = descriptor->address;
    if (kept.ss_family == AF_INET && !((struct sockaddr_in *)&kept)->sin_port)
        ((struct sockaddr_in *)&kept)->sin_port = htons(SOME_PORT);
    memcpy(address, &kept, *len < sizeof(kept) ? *len : sizeof(kept));
    return 0;
}

static int option_of(struct descriptor *descriptor, int name)
{
    bool is_socket = !descriptor->end || descriptor->end->kind <= END_UNIX;
    int error = descriptor->error;
    if (!is_socket || descriptor->kind >= DESCRIPTOR_EVENT)
        return -ENOTSOCK;
    switch (name) {
    case SO_DOMAIN:
        return descriptor->family;
    case SO_TYPE:
        return SOCK_STREAM;
    case SO_ERROR:
        descriptor->error = 0;
        return error;
    default:
        return -ENOPROTOOPT;
    }
}

WRAP(int, getsockopt, int fd, int level, int name, void *value, socklen_t *len)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_getsockopt(fd, level, name, value, len);
    int option = option_of(descriptor, name);
    if (option >= 0)
        memcpy(value, &option, sizeof(option));
    return option < 0 ? told(option) : 0;
}

WRAP(int, setsockopt, int fd, int level, int name, const void *value, socklen_t len)
{
    if (fd < KERNEL_FD_FIRST)
        return __real_setsockopt(fd, level, name, value, len);
    if (end_of(fd) && level == SOL_SOCKET && name == SO_LINGER)
        end_of(fd)->abrupt = true;
    return 0;
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    const struct end *end = end_of(fd);
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (fd < KERNEL_FD_FIRST)
        return __real_ioctl(fd, request, argument);
    if (!end)
        return told(-ENOTTY);
    if (request == SIOCINQ)
        *(int *)argument = (int)end->len;
    else if (request == SIOCOUTQ)
        *(int *)argument = end->peer ? (int)end->peer->len : 0;
    return 0;
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

int __wrap_fcntl64(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    return fd < KERNEL_FD_FIRST ? __real_fcntl64(fd, command, argument) : 0;
}

/* Both of a pair, or neither. */
static int open_two(enum end_kind kind, int family, int ret_fds[2])
{
    struct end *ends[2];
    int one = kernel_open(DESCRIPTOR_END, family);
    int other = one < 0 ? one : kernel_open(DESCRIPTOR_END, family);
    if (other < 0) {
        if (one >= 0)
            kernel_close(one);
        return other;
    }
    end_pair(kind, ends);
    kernel_attach(one, ends[0]);
    kernel_attach(other, ends[1]);
    ret_fds[0] = one;
    ret_fds[1] = other;
    return 0;
}

WRAP(int, pipe2, int ends[2], int flags)
{
    return kernel_ops ? told(open_two(END_PIPE, 0, ends)) : __real_pipe2(ends, flags);
}

WRAP(int, socketpair, int domain, int type, int protocol, int ends[2])
{
    return kernel_ops ? told(open_two(END_UNIX, AF_UNIX, ends))
                      : __real_socketpair(domain, type, protocol, ends);
}

/* Only /dev/null is opened. */
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return kernel_ops ? told(kernel_open(DESCRIPTOR_OTHER, 0)) : __real_open64(path, flags, mode);
}

WRAP(int, unlink, const char *path)
{
    return kernel_ops ? 0 : __real_unlink(path);
}

WRAP(int, epoll_create1, int flags)
{
    return kernel_ops ? told(kernel_open(DESCRIPTOR_OTHER, 0)) : __real_epoll_create1(flags);
}

WRAP(int, epoll_ctl, int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (epoll_fd < KERNEL_FD_FIRST)
        return __real_epoll_ctl(epoll_fd, operation, fd, event);
    if (!descriptor)
        return told(-EBADF);
    descriptor->watched = operation != EPOLL_CTL_DEL;
    if (!descriptor->watched)
        return 0;
    descriptor->edge = true;
    descriptor->events = event->events;
    descriptor->data = event->data.ptr;
    return 0;
}

WRAP(int, epoll_wait, int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
    if (epoll_fd < KERNEL_FD_FIRST)
        return __real_epoll_wait(epoll_fd, events, max, timeout_ms);
    kernel_ops->wait(timeout_ms);
    int count = kernel_events(events, max);
    if (count == 0 && timeout_ms > 0) {
        kernel.now_ns += (uint64_t)timeout_ms * 1000000u;
        kernel.progress++;
    }
    return count;
}

WRAP(int, clock_gettime, clockid_t clock, struct timespec *ret_now)
{
    if (!kernel_ops)
        return __real_clock_gettime(clock, ret_now);
    *ret_now = (struct timespec){.tv_sec = (time_t)(kernel.now_ns / 1000000000u),
                                 .tv_nsec = (long)(kernel.now_ns % 1000000000u)};
    return 0;
}

WRAP(ssize_t, getrandom, void *bytes, size_t len, unsigned flags)
{
    if (!kernel_ops)
        return __real_getrandom(bytes, len, flags);
    for (size_t i = 0; i < len; i++) {
        kernel.random = kernel.random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(kernel.random >> 56);
    }
    return (ssize_t)len;
}

WRAP(int, vdprintf, int fd, const char *format, va_list args)
{
    char text[1024];
    if (fd < KERNEL_FD_FIRST)
        return __real_vdprintf(fd, format, args);
    int len = vsnprintf(text, sizeof(text), format, args);
    return (int)write(fd, text, (size_t)len);
}

WRAP(int, posix_openpt, int flags)
{
    int fds[2];
    if (!kernel_ops)
        return __real_posix_openpt(flags);
    int err = open_two(END_TERMINAL, 0, fds);
    if (err < 0)
        return told(err);
    struct end *terminal = end_of(fds[1]);
    terminal->unopened = true;
    end_hold(terminal);
    kernel_close(fds[1]);
    return fds[0];
}

WRAP(int, grantpt, int fd)
{
    return kernel_ops ? 0 : __real_grantpt(fd);
}

WRAP(int, unlockpt, int fd)
{
    return kernel_ops ? 0 : __real_unlockpt(fd);
}

WRAP(int, ptsname_r, int fd, char *path, size_t size)
{
    if (!kernel_ops)
        return __real_ptsname_r(fd, path, size);
    snprintf(path, size, "/dev/pts/%d", fd);
    return 0;
}

/* Devices. */
WRAP(int, channel_open_virtio, const char *name)
{
    if (!kernel_ops)
        return __real_channel_open_virtio(name);
    int fd = kernel_open(DESCRIPTOR_SOCKET, 0), err = fd < 0 ? fd : kernel_ops->connect(fd);
    if (err < 0 && fd >= 0)
        kernel_close(fd);
    return err < 0 ? err : fd;
}

WRAP(int, channel_open_serial, const char *path, uint32_t speed, struct terminal *ret_before)
{
    *ret_before = (struct terminal){0};
    return kernel_ops ? __wrap_channel_open_virtio(path)
                      : __real_channel_open_serial(path, speed, ret_before);
}

WRAP(int, closer_start, void)
{
    return kernel_ops ? 0 : __real_closer_start();
}

WRAP(void, closer_close, int fd)
{
    close(fd);
}

WRAP(void, closer_close_socket, int fd)
{
    close(fd);
}

/* Signals come by kernel_find(fd)->count. */
WRAP(int, signals_new, void)
{
    return kernel_ops ? kernel_open(DESCRIPTOR_EVENT, 0) : __real_signals_new();
}

WRAP(int, signals_take, int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    if (!descriptor)
        return __real_signals_take(fd);
    if (descriptor->count == 0)
        return -EAGAIN;
    descriptor->count--;
    return SIGTERM;
}

static void compose(const char *format, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof(text), format, args);
    kernel_ops->said(text);
}

void __wrap_log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void __wrap_log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));
void __wrap_log_keep_off(int fd);
void __wrap_log_never_wait(void);

void __wrap_log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    compose(format, args);
    va_end(args);
}

void __wrap_log_verbose(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    compose(format, args);
    va_end(args);
}

void __wrap_log_keep_off(int fd)
{
}

void __wrap_log_never_wait(void)
{
}
