// SPDX-License-Identifier: BSD-3-Clause
#include "os/keeper.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"

struct question {
    uint64_t tag;
    int numbers[KEEPER_BATCH];
};

struct answer {
    uint64_t tag; /* of the question */
    uint32_t given, reserved;
};

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * KEEPER_BATCH)];
};

/* Sends the descriptors, or a message without any when one of them is not open. */
static void give(int channel, const struct question *question, unsigned count)
{
    union control control = {0};
    struct answer answer = {.tag = question->tag, .given = count};
    struct iovec iov = {.iov_base = &answer, .iov_len = sizeof(answer)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), question->numbers, count * sizeof(int));
    if (sendmsg(channel, &message, MSG_NOSIGNAL) >= 0)
        return;
    answer.given = 0; // cppcheck-suppress unreadVariable ; the message points to it
    message.msg_control = NULL;
    message.msg_controllen = 0;
    sendmsg(channel, &message, MSG_NOSIGNAL);
}

static int same(const void *argument, int number)
{
    (void)argument;
    return number;
}

int keeper_serve(int channel)
{
    return keeper_serve_as(channel, same, NULL);
}

int keeper_serve_as(int channel, int (*here)(const void *argument, int number),
                    const void *argument)
{
    struct question question;
    struct iovec iov = {.iov_base = &question, .iov_len = sizeof(question)};
    for (;;) {
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t len = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return -ENOTCONN;
        if (len < (ssize_t)offsetof(struct question, numbers))
            return 0; /* it is done */
        unsigned count =
            (unsigned)(((size_t)len - offsetof(struct question, numbers)) / sizeof(int));
        fault_point("keeper-asked");
        for (unsigned i = 0; i < count; i++)
            question.numbers[i] = here(argument, question.numbers[i]);
        give(channel, &question, count);
        fault_point("keeper-gave");
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

/* The answer to the question with this tag. An answer to a process that has died may come
 * before it. */
static ssize_t take_answer(int channel, uint64_t tag, struct received_fds *ret_fds)
{
    const uint64_t deadline_ns = clock_now_ns() + LIMIT_KEEPER_MS * 1000000ull;
    struct answer answer;
    for (;;) {
        int err = socket_wait(channel, POLLIN, deadline_ns);
        ssize_t len =
            err < 0 ? err : socket_receive(channel, (uint8_t *)&answer, sizeof(answer), ret_fds);
        if (len < 0 || (len == sizeof(answer) && answer.tag == tag))
            return len;
        while (ret_fds->count > 0)
            close(ret_fds->fd[--ret_fds->count]);
    }
}

int keeper_ask(int channel, const int *numbers, unsigned count, int *ret_fds)
{
    struct received_fds fds;
    struct question question = {.tag = clock_now_ns()};
    const size_t len = offsetof(struct question, numbers) + count * sizeof(int);
    memcpy(question.numbers, numbers, count * sizeof(int));
    if (send(channel, &question, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
    fault_point("hand-over-asked");
    ssize_t taken = take_answer(channel, question.tag, &fds);
    if (taken < 0)
        return (int)taken;
    if (fds.count != count) {
        while (fds.count > 0)
            close(fds.fd[--fds.count]);
        return -EBADF;
    }
    memcpy(ret_fds, fds.fd, count * sizeof(int));
    return 0;
}
