// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket_child.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"

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

void socket_child_close_others(int fd)
{
    if (fd > 0)
        syscall(SYS_close_range, 0, fd - 1, 0);
    syscall(SYS_close_range, fd + 1, ~0u, 0);
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
