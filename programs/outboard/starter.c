// SPDX-License-Identifier: BSD-3-Clause
/*
 * A request is a number: 0 starts the command, any other is a signal for it. An answer is what wait(2)
 * tells, or a negative errno.
 */
#include "starter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/log.h"
#include "os/socket_child.h"
#include "sandbox/outsider.h"

#define START 0

struct work {
    char **command;
    bool is_confined;
};

static void ending_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGTERM);
    sigaddset(ret_signals, SIGHUP);
}

static void tell(int fd, int32_t word)
{
    send(fd, &word, sizeof(word), MSG_NOSIGNAL); /* who does not listen has ended */
}

static bool hear(int fd, int32_t *ret_word)
{
    ssize_t got = 0;
    do
        got = recv(fd, ret_word, sizeof(*ret_word), 0);
    while (got < 0 && errno == EINTR);
    return got == sizeof(*ret_word);
}

static _Noreturn void become(char **command, const sigset_t *mask)
{
    log_give_back_signals();
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(command[0], command);
    log_line("can't run %s: %s", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Until the command ends. False: who asked has ended, and the command is left to itself. */
static bool attend(int fd, pid_t command, int ended)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = ended, .events = POLLIN}};
    for (;;) {
        int32_t word = 0;
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents) {
            int status = 0;
            waitpid(command, &status, 0);
            tell(fd, status);
            return true;
        }
        if (!hear(fd, &word))
            return false;
        if (word > START)
            kill(command, word);
    }
}

static bool run(int fd, const struct work *work, const sigset_t *mask)
{
    pid_t pid = fork();
    if (pid == 0)
        become(work->command, mask);
    AUTO_FD ended = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    if (ended >= 0)
        return attend(fd, pid, ended);
    tell(fd, -errno);
    return true;
}

/* The keyboard's signals reach the command by themselves. */
static int serve(int fd, const void *context)
{
    const struct work *work = context;
    const struct outsider_plan plan = {.starts_programs = true};
    sigset_t signals, mask;
    int32_t word;
    ending_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    if (work->is_confined)
        outsider_confine(&plan); /* as far as the kernel can */
    while (hear(fd, &word))
        if (word == START && !run(fd, work, &mask))
            break;
    return EXIT_SUCCESS;
}

int starter_start(char **command, bool is_confined, struct starter *ret_starter)
{
    const struct work work = {command, is_confined};
    sigset_t signals;
    ending_signals(&signals);
    ret_starter->fd = socket_child_start(SOCK_SEQPACKET, serve, &work);
    if (ret_starter->fd < 0)
        return ret_starter->fd;
    ret_starter->signals = signalfd(-1, &signals, SFD_CLOEXEC);
    return ret_starter->signals < 0 ? -errno : 0;
}

static void pass_on(const struct starter *starter)
{
    struct signalfd_siginfo signal;
    if (read(starter->signals, &signal, sizeof(signal)) == sizeof(signal) &&
        signal.ssi_signo != SIGINT)
        tell(starter->fd, (int32_t)signal.ssi_signo);
}

int starter_run(const struct starter *starter)
{
    struct pollfd fds[] = {{.fd = starter->signals, .events = POLLIN},
                           {.fd = starter->fd, .events = POLLIN}};
    sigset_t signals;
    int32_t status = 0;
    ending_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    tell(starter->fd, START);
    while (!fds[1].revents) {
        if (poll(fds, 2, -1) > 0 && fds[0].revents)
            pass_on(starter);
    }
    if (!hear(starter->fd, &status))
        return -EPIPE;
    if (status < 0)
        return status;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
