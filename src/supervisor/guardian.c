// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/guardian.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/keeper.h"
#include "os/socket.h"

struct guardian {
    const struct plan *plan;
    const struct ledger_state *state;
    int ledger_fd;
};

static void send_signal(int pidfd, int number)
{
    if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

static bool has_ended(int pidfd)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    return pidfd < 0 || poll(&ended, 1, 0) > 0;
}

static void wait_for_end(int pidfd, uint64_t deadline_ns)
{
    if (pidfd >= 0 && socket_wait(pidfd, POLLIN, deadline_ns) < 0)
        send_signal(pidfd, SIGKILL);
}

static void signal_devices(const struct guardian *guardian, int number)
{
    for (unsigned i = 0; i < guardian->state->count; i++)
        send_signal(guardian->state->devices[i].fd[LEDGER_PROCESS], number);
}

/* Its sockets have no use any more. */
static void clean_up(const struct guardian *guardian)
{
    const struct plan *plan = guardian->plan;
    unlink(plan->control);
    if (plan->qmp)
        unlink(plan->qmp);
    for (unsigned i = 0; i < plan->device_count; i++) {
        if (plan->devices[i].socket == PLAN_LISTENER)
            unlink(plan->devices[i].path);
        if (plan->devices[i].monitor)
            unlink(plan->devices[i].monitor);
    }
    rmdir(plan->folder);
}

/* As the supervisor ends them: the VMM first. */
static void end_all(const struct guardian *guardian)
{
    const struct ledger_state *state = guardian->state;
    const uint64_t patience_ns = LIMIT_STOP_MS * 1000000ull;
    send_signal(state->vmm_fd, SIGTERM);
    wait_for_end(state->vmm_fd, clock_now_ns() + patience_ns);
    signal_devices(guardian, SIGTERM);
    const uint64_t deadline_ns = clock_now_ns() + patience_ns;
    for (unsigned i = 0; i < state->count; i++)
        wait_for_end(state->devices[i].fd[LEDGER_PROCESS], deadline_ns);
    clean_up(guardian);
}

/* Without a VMM the devices are the machine. */
static bool is_over(const struct guardian *guardian)
{
    const struct ledger_state *state = guardian->state;
    bool over = true;
    if (state->vmm_fd >= 0)
        return has_ended(state->vmm_fd);
    for (unsigned i = 0; i < state->count; i++)
        over &= has_ended(state->devices[i].fd[LEDGER_PROCESS]);
    return over;
}

/* Waits until somebody connects. Its descriptor; -1: the machine is over. */
static int wait_for_heir(const struct guardian *guardian, int listener)
{
    struct pollfd fds[LIMIT_DEVICES + 2] = {{.fd = listener, .events = POLLIN},
                                            {.fd = guardian->state->vmm_fd, .events = POLLIN}};
    unsigned count = 2;
    for (unsigned i = 0; i < guardian->state->count && guardian->state->vmm_fd < 0; i++) {
        int fd = guardian->state->devices[i].fd[LEDGER_PROCESS];
        if (!has_ended(fd))
            fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    while (!is_over(guardian)) {
        if (poll(fds, count, -1) < 0 && errno != EINTR)
            return -1;
        // cppcheck-suppress nullPointer ; no address is wanted
        int fd = fds[0].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0)
            return fd;
        for (unsigned i = 2; i < count; i++)
            if (fds[i].revents)
                fds[i].fd = -1;
    }
    return -1;
}

/* A heir that dies before it has all leaves the rest to the next one. */
static void serve_heirs(const struct guardian *guardian)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    snprintf(path, sizeof(path), "%s/" GUARDIAN_SOCKET, guardian->plan->folder);
    int listener = socket_listen_messages(path, 0600);
    bool done = false;
    while (listener >= 0 && !done) {
        int fd = wait_for_heir(guardian, listener);
        if (fd < 0)
            break;
        done = socket_send(fd, "", 1, guardian->ledger_fd) == 1 && keeper_serve(fd) == 0;
        close(fd);
    }
    unlink(path);
    if (done)
        return;
    signal_devices(guardian, SIGTERM); /* those that listen do not end with the VMM */
    clean_up(guardian);
}

static bool is_needed(const struct guardian *guardian, int fd)
{
    const struct ledger_state *state = guardian->state;
    bool needed = fd == guardian->ledger_fd || fd == state->vmm_fd;
    for (unsigned i = 0; i < state->count; i++)
        for (unsigned kind = 0; kind < LEDGER_FDS; kind++)
            needed |= state->devices[i].fd[kind] == fd;
    return needed;
}

/* A process of an upgrade can't take its place any more. The one of before continues. */
static void end_upgrades(const struct guardian *guardian)
{
    for (unsigned i = 0; i < guardian->state->count; i++)
        send_signal(guardian->state->devices[i].fd[LEDGER_NEXT], SIGKILL);
}

/* Clients of the control socket, QMP and spare processes see at once that the supervisor has gone. */
static void close_the_rest(const struct guardian *guardian)
{
    for (int fd = STDERR_FILENO + 1; fd < (int)LIMIT_CELL_FILES; fd++)
        if (!is_needed(guardian, fd))
            close(fd);
}

static _Noreturn void guard(struct guardian *guardian, struct ledger *ledger, int supervisor)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    prctl(PR_SET_NAME, "guardian");
    setsid();
    while (!has_ended(supervisor))
        socket_wait(supervisor, POLLIN, UINT64_MAX);
    ledger->orphaned_ns = clock_now_ns();
    guardian->state = ledger_state(ledger);
    end_upgrades(guardian);
    close_the_rest(guardian);
    if (guardian->plan->ends_with_supervisor)
        end_all(guardian);
    else
        serve_heirs(guardian);
    _exit(0);
}

int guardian_start(const struct plan *plan, struct ledger *ledger, int ledger_fd)
{
    struct guardian guardian = {.plan = plan, .ledger_fd = ledger_fd};
    int supervisor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (supervisor < 0)
        return -errno;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        guard(&guardian, ledger, supervisor);
    return pid < 0 ? -errno : pid;
}

void guardian_end(int pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
