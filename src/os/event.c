// SPDX-License-Identifier: BSD-3-Clause
#include "os/event.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int event_new(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int event_check(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    /* An eventfd has no file type, as other descriptors without a name (epoll, timer, signal)... */
    if (status.st_mode & S_IFMT)
        return -EINVAL;
    /* A count that the kernel has added up beyond what a write can: there it would wait. */
    struct pollfd ready = {.fd = fd};
    if (poll(&ready, 1, 0) != 0)
        return -EINVAL;
    /* ...but alone among these takes eight bytes, of which zero change nothing. */
    const uint64_t nothing = 0;
    return write(fd, &nothing, sizeof(nothing)) == sizeof(nothing) || errno == EAGAIN ? 0 : -EINVAL;
}

void event_signal(int fd)
{
    const uint64_t one = 1;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) <= 0 || ready.revents != POLLOUT)
        return;
    ssize_t written = write(fd, &one, sizeof(one));
    (void)written;
}

void event_drain(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));
    (void)got;
}

void event_drain_nowait(int fd)
{
    uint64_t count;
    struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    (void)got;
}
