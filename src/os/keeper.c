// SPDX-License-Identifier: BSD-3-Clause
#include "os/keeper.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * KEEPER_BATCH)];
};

/* Sends the descriptors, or a message without any when one of them is not open. */
static void give(int channel, const int *numbers, unsigned count)
{
    union control control = {0};
    uint8_t given = (uint8_t)count;
    struct iovec iov = {.iov_base = &given, .iov_len = sizeof(given)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), numbers, count * sizeof(int));
    if (sendmsg(channel, &message, MSG_NOSIGNAL) >= 0)
        return;
    given = 0; // cppcheck-suppress unreadVariable ; the message points to it
    message.msg_control = NULL;
    message.msg_controllen = 0;
    sendmsg(channel, &message, MSG_NOSIGNAL);
}

int keeper_serve(int channel)
{
    int numbers[KEEPER_BATCH];
    struct iovec iov = {.iov_base = numbers, .iov_len = sizeof(numbers)};
    for (;;) {
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t len = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return -ENOTCONN;
        if (len >= (ssize_t)sizeof(int) && numbers[0] == -1)
            return 0;
        give(channel, numbers, (unsigned)((size_t)len / sizeof(int)));
    }
}

int keeper_start(int channel, int (*confine)(void *argument), void *argument)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, 0);
    prctl(PR_SET_NAME, "keeper");
    setsid();
    if (confine && confine(argument) < 0)
        _exit(1);
    keeper_serve(channel);
    _exit(0);
}

int keeper_ask(int channel, const int *numbers, unsigned count, int *ret_fds)
{
    struct received_fds fds;
    uint8_t given;
    if (send(channel, numbers, count * sizeof(int), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
    int err = socket_wait(channel, POLLIN, clock_now_ns() + LIMIT_KEEPER_MS * 1000000ull);
    ssize_t len = err < 0 ? err : socket_receive(channel, &given, sizeof(given), &fds);
    if (len < 0)
        return (int)len;
    if (fds.count != count) {
        while (fds.count > 0)
            close(fds.fd[--fds.count]);
        return -EBADF;
    }
    memcpy(ret_fds, fds.fd, count * sizeof(int));
    return 0;
}
