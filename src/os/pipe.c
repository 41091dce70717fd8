// SPDX-License-Identifier: BSD-3-Clause
#include "os/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "os/write_signals.h"

int pipe_check(int fd)
{
    if (fcntl(fd, F_GETPIPE_SZ) < 0)
        return errno == EBADF ? -EINVAL : -errno;
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

ssize_t pipe_read(int fd, void *ret_bytes, size_t len)
{
    const ssize_t got = read(fd, ret_bytes, len);
    return got < 0 ? -errno : got;
}

ssize_t pipe_write(int fd, const void *bytes, size_t len)
{
    sigset_t before;
    write_signals_hold(&before);
    ssize_t sent = write(fd, bytes, len);
    if (sent < 0)
        sent = -errno;
    write_signals_release(&before, sent == -EPIPE);
    return sent;
}
