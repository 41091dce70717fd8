// SPDX-License-Identifier: BSD-3-Clause
#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/list.h"

#define FIRST_PASSED 3u

struct children {
    struct list list;
    unsigned count;
    bool reaping; /* going through the list, so that nobody else may take any out of it */
    int signal_fd;
    struct loop_source *source;
};

struct child {
    struct children *children;
    struct list link;
    pid_t pid;                                 /* 0: another process's */
    void (*signal)(void *context, int number); /* that process passes signals on */
    void *context;
    child_exit_fn exited; /* NULL: forgotten */
    void *argument;
};

static void drop(struct child *child)
{
    child->children->count--;
    list_remove(&child->link);
    free(child);
}

static void reap(struct children *children)
{
    struct list *next;
    children->reaping = true;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        struct child *child = list_entry(link, struct child, link);
        int status;
        next = link->next;
        if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        if (child->exited)
            child->exited(child->argument, status);
        drop(child);
    }
    children->reaping = false;
}

static void on_signal(void *argument, uint32_t events)
{
    struct children *children = argument;
    struct signalfd_siginfo info;
    while (read(children->signal_fd, &info, sizeof(info)) == sizeof(info))
        ;
    reap(children);
}

int children_new(struct loop *loop, struct children **ret_children)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return -errno;
    AUTO_FD fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    AUTO_FREE struct children *children = calloc(1, sizeof(*children));
    if (!children)
        return -ENOMEM;
    list_init(&children->list);
    int err = loop_add(loop, fd, EPOLLIN, on_signal, children, &children->source);
    if (err < 0)
        return err;
    children->signal_fd = take_fd(&fd);
    *ret_children = take_ptr(&children);
    return 0;
}

void children_free(struct children *children)
{
    if (!children)
        return;
    struct list *next;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        next = link->next;
        drop(list_entry(link, struct child, link));
    }
    loop_remove(children->source);
    close(children->signal_fd);
    free(children);
}

/* Reaps those that nobody asks for any more: they were killed, and keep room only. */
static void reap_forgotten(struct children *children)
{
    struct list *next;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        struct child *child = list_entry(link, struct child, link);
        next = link->next;
        if (!child->exited && child->pid != 0 && waitpid(child->pid, NULL, WNOHANG) == child->pid)
            drop(child);
    }
}

static int add(struct children *children, struct child **ret_child)
{
    if (children->count >= LIMIT_CHILDREN && !children->reaping)
        reap_forgotten(children);
    if (children->count >= LIMIT_CHILDREN)
        return -EAGAIN;
    struct child *child = calloc(1, sizeof(*child));
    if (!child)
        return -ENOMEM;
    child->children = children;
    children->count++;
    list_init(&child->link);
    list_append(&children->list, &child->link);
    *ret_child = child;
    return 0;
}

/* If a session's leader without a terminal opens it, it becomes the controlling one. */
static int plan_descriptors(posix_spawn_file_actions_t *actions, const struct child_spec *spec)
{
    int err = 0;
    for (int i = 0; i < 3 && err == 0; i++) {
        if (spec->terminal)
            err = posix_spawn_file_actions_addopen(actions, i, spec->terminal, O_RDWR, 0);
        else if (spec->fd[i] < 0)
            err = posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0);
        else
            err = posix_spawn_file_actions_adddup2(actions, spec->fd[i], i);
    }
    for (unsigned i = 0; i < spec->passed_count && err == 0; i++)
        err = posix_spawn_file_actions_adddup2(actions, spec->passed[i], (int)(FIRST_PASSED + i));
    return err ? err
               : posix_spawn_file_actions_addclosefrom_np(actions,
                                                          (int)(FIRST_PASSED + spec->passed_count));
}

static int plan_signals(posix_spawnattr_t *attributes, bool attached)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    return posix_spawnattr_setflags(attributes,
                                    (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                            (attached ? 0 : POSIX_SPAWN_SETSID)));
}

/* Nothing but our own limit tells a child of posix_spawn(3) its own, so ours is lowered meanwhile.
 */
static int spawn_limited(struct child *child, const struct child_spec *spec,
                         const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes)
{
    struct rlimit ours;
    bool limited = spec->open_files && getrlimit(RLIMIT_NOFILE, &ours) == 0;
    if (limited) {
        struct rlimit theirs = {.rlim_cur = spec->open_files, .rlim_max = ours.rlim_max};
        setrlimit(RLIMIT_NOFILE, &theirs);
    }
    int err = posix_spawnp(&child->pid, spec->argv[0], actions, attributes, spec->argv,
                           spec->environment ? spec->environment : environ);
    if (limited)
        setrlimit(RLIMIT_NOFILE, &ours);
    return err;
}

int child_spawn(struct children *children, const struct child_spec *spec, struct child **ret_child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    struct child *child;
    int err = add(children, &child);
    if (err < 0)
        return err;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    err = plan_descriptors(&actions, spec);
    if (err == 0)
        err = plan_signals(&attributes, spec->attached);
    if (err == 0)
        err = spawn_limited(child, spec, &actions, &attributes);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (err) {
        drop(child);
        return -err;
    }
    *ret_child = child;
    return 0;
}

#define FAILURE_FD 3

/* The child, which calls nothing but system calls: another thread may have held any lock. */
static _Noreturn void become_program(const struct child_spec *spec, int failure_fd)
{
    sigset_t none;
    sigemptyset(&none);
    setsid();
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int err = 0;
    for (int i = 0; i < 3 && err == 0; i++) {
        int fd = spec->fd[i] >= 0 ? spec->fd[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        err = fd >= 0 && dup2(fd, i) == i ? 0 : errno;
    }
    /* Above all of them, then in the place of the first: it ends with exec. */
    failure_fd = fcntl(failure_fd, F_DUPFD_CLOEXEC, FAILURE_FD + 1);
    dup3(failure_fd, FAILURE_FD, O_CLOEXEC);
    closefrom(FAILURE_FD + 1);
    if (err == 0) {
        execvpe(spec->argv[0], spec->argv, spec->environment ? spec->environment : environ);
        err = errno;
    }
    ssize_t put = write(FAILURE_FD, &err, sizeof(err));
    _exit(put < 0 ? 126 : 127);
}

int child_spawn_unwaited(struct children *children, const struct child_spec *spec,
                         int *ret_failure_fd, struct child **ret_child)
{
    int ends[2];
    struct child *child;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    AUTO_FD theirs = ends[1];
    int err = add(children, &child);
    if (err < 0)
        return err;
    child->pid = fork();
    if (child->pid == 0)
        become_program(spec, theirs);
    if (child->pid < 0) {
        err = -errno;
        drop(child);
        return err;
    }
    *ret_failure_fd = take_fd(&ours);
    *ret_child = child;
    return 0;
}

int child_fork(struct children *children, int fd, int (*work)(int fd, const void *context),
               const void *context, struct child **ret_child)
{
    struct child *child;
    int err = add(children, &child);
    if (err < 0)
        return err;
    child->pid = fork();
    if (child->pid < 0) {
        err = -errno;
        drop(child);
        return err;
    }
    if (child->pid == 0) {
        /* Whatever else it kept open, its peer would not see us close. */
        if (fd != 3)
            dup2(fd, 3);
        closefrom(4);
        _exit(work(3, context));
    }
    *ret_child = child;
    return 0;
}

int child_adopt(struct children *children, void (*signal)(void *context, int number), void *context,
                struct child **ret_child)
{
    struct child *child;
    int err = add(children, &child);
    if (err < 0)
        return err;
    child->signal = signal;
    child->context = context;
    *ret_child = child;
    return 0;
}

void child_ended(struct child *child, int status)
{
    if (child->exited)
        child->exited(child->argument, status);
    drop(child);
}

void child_watch(struct child *child, child_exit_fn exited, void *argument)
{
    child->exited = exited;
    child->argument = argument;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_signal(struct child *child, int number)
{
    if (child->signal)
        child->signal(child->context, number);
    else if (kill(-child->pid, number) < 0) /* it leads no group: a fork */
        kill(child->pid, number);
}

void child_hang_up(struct child *child)
{
    child_signal(child, SIGHUP);
    child_signal(child, SIGCONT); /* else one that is stopped would never see it */
}

void child_forget(struct child *child)
{
    if (child)
        child->exited = NULL;
}
