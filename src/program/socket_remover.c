// SPDX-License-Identifier: BSD-3-Clause
#include "program/socket_remover.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The child keeps no other descriptor: a peer, or who reads standard error, would wait for it. */
static _Noreturn void wait_and_remove(int fd, const char *path, const struct socket_place *place)
{
    char byte;
    if (fd > 0)
        syscall(SYS_close_range, 0, fd - 1, 0);
    syscall(SYS_close_range, fd + 1, ~0u, 0);
    while (read(fd, &byte, 1) < 0 && errno == EINTR) {}
    socket_remove(path, place);
    _exit(EXIT_SUCCESS);
}

int socket_remover_start(const char *path, const struct socket_place *place)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        wait_and_remove(ends[1], path, place);
    int err = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (err == 0)
        return ends[0];
    close(ends[0]);
    return err;
}

void socket_remover_finish(int fd)
{
    char byte;
    shutdown(fd, SHUT_WR);
    while (read(fd, &byte, 1) < 0 && errno == EINTR) {}
    close(fd);
}
