// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/log.h"

#define ALONE_FD 3

int socket_child_start(int type, int (*work)(int fd, const void *context), const void *context)
{
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0], theirs = ends[1];
    pid_t pid = fork();
    if (pid == 0) {
        close(ours);
        _exit(work(theirs, context));
    }
    return pid < 0 ? -errno : take_fd(&ours);
}

/* The child closes its end of the pipe together with all else that it has of its parent. */
int socket_child_start_apart(int type, int (*work)(int fd, const void *context),
                             const void *context)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD closed = ends[0];
    int fd = socket_child_start(type, work, context);
    close(ends[1]);
    while (fd >= 0 && read(closed, &byte, sizeof(byte)) < 0 && errno == EINTR) {}
    return fd;
}

void socket_child_close_others(int fd)
{
    if (fd > 0)
        syscall(SYS_close_range, 0, fd - 1, 0);
    syscall(SYS_close_range, fd + 1, ~0u, 0);
}

static void heed_no_signals(void)
{
    static const int numbers[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
                                  SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&signals, numbers[i]);
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* The standard streams may be a channel: the peer at its other end waits for the parent to close it. */
static int keep_one(int fd)
{
    AUTO_FD nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0)
        return -errno;
    if (fd != ALONE_FD && dup3(fd, ALONE_FD, O_CLOEXEC) < 0)
        return -errno;
    take_fd(&nothing); /* fd may have its number now */
    return syscall(SYS_close_range, ALONE_FD + 1, ~0u, 0) < 0 ? -errno : ALONE_FD;
}

int socket_child_stand_alone(int fd)
{
    const char *program = log_program();
    log_end();
    int alone = keep_one(fd);
    int err = alone < 0 ? alone : log_start(program);
    if (err < 0)
        return err;
    log_never_wait();
    heed_no_signals();
    return alone;
}

void socket_child_end(int fd)
{
    char byte;
    ssize_t got = 0;
    shutdown(fd, SHUT_WR);
    do
        got = read(fd, &byte, sizeof(byte));
    while (got > 0 || (got < 0 && errno == EINTR));
    close(fd);
}
