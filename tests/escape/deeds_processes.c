// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "call.h"

/* A signal that a process which waits for its end does not notice. */
#define HARMLESS SIGCONT

static long end_child(long pid)
{
    if (pid == 0)
        _exit(0);
    return pid < 0 ? -errno : escape_result(waitpid((pid_t)pid, NULL, 0));
}

static long start_a_process(const struct escape_world *world)
{
    return end_child(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static long fork_a_process(const struct escape_world *world)
{
    return end_child(syscall(SYS_fork));
}

static long start_a_process_the_new_way(const struct escape_world *world)
{
    const struct clone_args how = {.exit_signal = SIGCHLD};
    return end_child(syscall(SYS_clone3, &how, sizeof(how)));
}

static long start_in_a_namespace(const struct escape_world *world)
{
    return end_child(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, NULL, NULL, NULL, NULL));
}

static long execute(const struct escape_world *world)
{
    const char *const arguments[] = {world->program, "--list", NULL};
    return CALL(execve, world->program, arguments, NULL);
}

static long execute_a_descriptor(const struct escape_world *world)
{
    const char *const arguments[] = {"file", NULL};
    return CALL(execveat, world->readonly_fd, "", arguments, NULL, AT_EMPTY_PATH);
}

static long seize(const struct escape_world *world)
{
    return CALL(ptrace, PTRACE_SEIZE, world->sibling, NULL, NULL);
}

static long attach(const struct escape_world *world)
{
    return CALL(ptrace, PTRACE_ATTACH, world->sibling, NULL, NULL);
}

/* The hook lies elsewhere in the sibling: who may look there is told EFAULT. */
static long look(long number, const struct escape_world *world)
{
    char byte = 0;
    const struct iovec ours = {.iov_base = &byte, .iov_len = 1};
    const struct iovec theirs = {.iov_base = (void *)(uintptr_t)4096, .iov_len = 1};
    long moved = syscall(number, world->sibling, &ours, 1, &theirs, 1, 0);
    return moved < 0 && errno != EFAULT ? -errno : 0;
}

static long read_memory(const struct escape_world *world)
{
    return look(SYS_process_vm_readv, world);
}

static long write_memory(const struct escape_world *world)
{
    return look(SYS_process_vm_writev, world);
}

static long take_a_descriptor(const struct escape_world *world)
{
    return CALL(pidfd_getfd, world->sibling_fd, 0, 0);
}

static long open_a_process(const struct escape_world *world)
{
    return CALL(pidfd_open, world->sibling, 0);
}

static long signal_by_number(const struct escape_world *world)
{
    return CALL(kill, world->sibling, HARMLESS);
}

static long signal_all(const struct escape_world *world)
{
    return CALL(kill, -world->sibling, HARMLESS); /* the sibling leads a group of its own */
}

static long signal_a_thread(const struct escape_world *world)
{
    return CALL(tkill, world->sibling, HARMLESS);
}

/* The signal by which an assertion ends its own process. */
static long abort_a_thread(const struct escape_world *world)
{
    return CALL(tgkill, world->sibling, world->sibling, SIGABRT);
}

static long signal_by_descriptor(const struct escape_world *world)
{
    return CALL(pidfd_send_signal, world->sibling_fd, HARMLESS, NULL, 0);
}

static long queue_a_signal(const struct escape_world *world)
{
    siginfo_t info = {.si_signo = HARMLESS, .si_code = SI_QUEUE};
    return CALL(rt_sigqueueinfo, world->sibling, HARMLESS, &info);
}

static long have_signals_sent(const struct escape_world *world)
{
    return CALL(fcntl, world->stream_fd, F_SETOWN, world->sibling);
}

static long compare(const struct escape_world *world)
{
    return CALL(kcmp, world->sibling, world->sibling, KCMP_FILE, 0, 0);
}

static long limit_another(const struct escape_world *world)
{
    struct rlimit limits;
    long err = CALL(prlimit64, world->sibling, RLIMIT_CORE, NULL, &limits);
    return err < 0 ? err : CALL(prlimit64, world->sibling, RLIMIT_CORE, &limits, NULL);
}

static long ask_for_anothers_limit(const struct escape_world *world)
{
    struct rlimit limits;
    return CALL(prlimit64, world->sibling, RLIMIT_CORE, NULL, &limits);
}

static long place_another(const struct escape_world *world)
{
    unsigned long processors = 1;
    return CALL(sched_setaffinity, world->sibling, sizeof(processors), &processors);
}

static long slow_another_down(const struct escape_world *world)
{
    return CALL(setpriority, PRIO_PROCESS, world->sibling, 19);
}

static long advise_another(const struct escape_world *world)
{
    const struct iovec none = {.iov_base = NULL, .iov_len = 0};
    return CALL(process_madvise, world->sibling_fd, &none, 1, 20 /* MADV_COLD */, 0);
}

const struct escape_deed escape_processes[] = {
    {"start a process", "clone", start_a_process, 0},
    {"start a process by fork(2)", "fork", fork_a_process, 0},
    {"start a process by clone3(2)", "ENOSYS", start_a_process_the_new_way, 0},
    {"start a process in a user namespace", "clone", start_in_a_namespace, ESCAPE_DEPENDS},
    {"execute a program", "execve/ENOENT", execute, ESCAPE_LEAVES},
    {"execute a descriptor", "execveat/EACCES", execute_a_descriptor,
     ESCAPE_LEAVES | ESCAPE_DEPENDS},
    {"trace a sibling", "ptrace/EPERM", seize, ESCAPE_DEPENDS},
    {"attach to a sibling", "ptrace/EPERM", attach, ESCAPE_DEPENDS},
    {"read the memory of a sibling", "process_vm_readv/EPERM", read_memory, ESCAPE_DEPENDS},
    {"write the memory of a sibling", "process_vm_writev/EPERM", write_memory, ESCAPE_DEPENDS},
    {"take a descriptor of a sibling", "pidfd_getfd/EPERM", take_a_descriptor, ESCAPE_DEPENDS},
    {"open a sibling", "pidfd_open", open_a_process, 0},
    {"signal a sibling", "kill/EPERM", signal_by_number, 0},
    {"signal a group", "kill/EPERM", signal_all, 0},
    {"signal a thread of a sibling", "tkill/EPERM", signal_a_thread, 0},
    {"abort a sibling", "tgkill/EPERM", abort_a_thread, 0},
    {"signal a sibling by its descriptor", "pidfd_send_signal/EPERM", signal_by_descriptor, 0},
    {"queue a signal", "rt_sigqueueinfo/EPERM", queue_a_signal, 0},
    {"have a sibling signalled", "fcntl", have_signals_sent, 0},
    {"compare descriptors of a sibling", "kcmp/EPERM", compare, ESCAPE_DEPENDS},
    {"limit a sibling", "prlimit64", limit_another, 0},
    {"ask for a limit of a sibling", "prlimit64", ask_for_anothers_limit, 0},
    {"move a sibling to another processor", "sched_setaffinity", place_another, ESCAPE_DEPENDS},
    {"slow a sibling down", "setpriority", slow_another_down, 0},
    {"advise on the memory of a sibling", "process_madvise", advise_another, ESCAPE_DEPENDS},
    {0},
};
