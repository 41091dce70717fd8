// SPDX-License-Identifier: BSD-3-Clause
#include "os/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

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

/* Takes back a SIGPIPE of ours, so that a program that has it handled never sees it. */
static void take_signal(const sigset_t *before, const sigset_t *pipe_signal)
{
    const struct timespec now = {0};
    if (!sigismember(before, SIGPIPE))
        sigtimedwait(pipe_signal, NULL, &now);
}

ssize_t pipe_write(int fd, const void *bytes, size_t len)
{
    sigset_t pipe_signal, before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t sent = write(fd, bytes, len);
    if (sent < 0)
        sent = -errno;
    if (sent == -EPIPE)
        take_signal(&before, &pipe_signal);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return sent;
}
