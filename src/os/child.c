// SPDX-License-Identifier: BSD-3-Clause
#include "os/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/list.h"

#define FIRST_PASSED 3u

/* The exit status of a child without a program, as that of a shell. */
#define NOT_STARTED 127

/* A status of waitpid(2) has 16 bits. */
#define EXEC_ERROR_SHIFT 16

struct children {
    struct list list;
    unsigned count;
    bool reaping; /* going through the list, so that nobody else may take any out of it */
    int signal_fd;
    struct loop *loop;
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
    int failure_fd; /* brings the errno of exec; -1: not any more */
    struct loop_source *source;
    int exec_error;                  /* 0: exec has not failed so far */
    void (*stopped)(void *argument); /* NULL: nobody waits for its stop */
    void *stop_argument;
    int pidfd;                      /* -1: nobody has asked for it */
    struct loop_source *end_source; /* of an adopted process; NULL: it is our child */
};

static void stop_reading(struct child *child)
{
    loop_remove(take_ptr(&child->source));
    auto_close(&child->failure_fd);
    child->failure_fd = -1;
}

static void drop(struct child *child)
{
    stop_reading(child);
    child->children->count--;
    list_remove(&child->link);
    loop_remove(child->end_source);
    if (child->pidfd >= 0)
        close(child->pidfd);
    free(child);
}

/* exec has succeeded, or has failed for the reason that stands in the pipe. False: not yet. */
static bool learn_exec(struct child *child)
{
    ssize_t got = read(child->failure_fd, &child->exec_error, sizeof(child->exec_error));
    return got >= 0 || errno != EAGAIN;
}

/* The status of a child that has ended, with the errno of exec. */
static int whole_status(struct child *child, int status)
{
    if (child->failure_fd >= 0)
        learn_exec(child);
    return child->exec_error ? NOT_STARTED << 8 | child->exec_error << EXEC_ERROR_SHIFT : status;
}

int child_exec_error(int status)
{
    return status >> EXEC_ERROR_SHIFT;
}

/* Tells the owner that the child stands still. */
static void look_for_stop(struct child *child)
{
    siginfo_t info = {0};
    void (*stopped)(void *argument) = child->stopped;
    if (!stopped || waitid(P_PID, (id_t)child->pid, &info, WSTOPPED | WNOHANG) < 0 ||
        info.si_pid != child->pid)
        return;
    child->stopped = NULL;
    stopped(child->stop_argument);
}

static void reap(struct children *children)
{
    struct list *next;
    children->reaping = true;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        struct child *child = list_entry(link, struct child, link);
        int status;
        next = link->next;
        if (child->pid == 0 || child->end_source)
            continue;
        if (waitpid(child->pid, &status, WNOHANG) != child->pid) {
            look_for_stop(child);
            continue;
        }
        if (child->exited)
            child->exited(child->argument, whole_status(child, status));
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
    children->loop = loop;
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
        if (!child->exited && child->pid != 0 && !child->end_source &&
            waitpid(child->pid, NULL, WNOHANG) == child->pid)
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
    child->pidfd = -1;
    children->count++;
    child->failure_fd = -1;
    list_init(&child->link);
    list_append(&children->list, &child->link);
    *ret_child = child;
    return 0;
}

/* If a session's leader without a terminal opens it, it becomes the controlling one. */
static int take_standard_streams(const struct child_spec *spec)
{
    for (int i = 0; i < 3; i++) {
        int fd = spec->terminal     ? open(spec->terminal, O_RDWR)
                 : spec->fd[i] >= 0 ? spec->fd[i]
                                    : open("/dev/null", O_RDWR);
        if (fd < 0 || (fd == i ? fcntl(fd, F_SETFD, 0) : dup2(fd, i)) < 0)
            return errno;
    }
    return 0;
}

static int take_passed(const struct child_spec *spec)
{
    for (unsigned i = 0; i < spec->passed_count; i++)
        if (dup2(spec->passed[i], (int)(FIRST_PASSED + i)) < 0)
            return errno;
    return 0;
}

static void forget_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void limit_files(rlim_t open_files)
{
    struct rlimit limit;
    if (open_files && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = open_files;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The child, which calls nothing but system calls: another thread may have held any lock. */
static _Noreturn void become_program(const struct child_spec *spec, int failure_fd)
{
    const int last = (int)(FIRST_PASSED + spec->passed_count);
    if (!spec->attached)
        setsid();
    forget_signals();
    limit_files(spec->open_files);
    failure_fd = fcntl(failure_fd, F_DUPFD_CLOEXEC, last + 1); /* out of their way */
    int err = spec->group_fd > 0 && write(spec->group_fd, "0", 1) < 0 ? errno : 0;
    if (err == 0)
        err = take_standard_streams(spec);
    if (err == 0)
        err = take_passed(spec);
    dup3(failure_fd, last, O_CLOEXEC);
    closefrom(last + 1);
    if (err == 0) {
        execvpe(spec->argv[0], spec->argv, spec->environment ? spec->environment : environ);
        err = errno;
    }
    ssize_t put = write(last, &err, sizeof(err));
    _exit(put < 0 ? 126 : NOT_STARTED);
}

int child_spawn_reported(struct children *children, const struct child_spec *spec,
                         int *ret_failure_fd, struct child **ret_child)
{
    int ends[2];
    struct child *child;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
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

static void on_exec(void *argument, uint32_t events)
{
    struct child *child = argument;
    if (learn_exec(child))
        stop_reading(child);
}

int child_spawn(struct children *children, const struct child_spec *spec, struct child **ret_child)
{
    struct child *child = NULL;
    int failure_fd = -1;
    int err = child_spawn_reported(children, spec, &failure_fd, &child);
    if (err < 0)
        return err;
    child->failure_fd = failure_fd;
    if (loop_add(children->loop, failure_fd, EPOLLIN, on_exec, child, &child->source) < 0)
        child->source = NULL; /* it is read at the end of the child */
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

static void on_adopted_end(void *argument, uint32_t events)
{
    child_ended(argument, 0);
}

int child_adopt_process(struct children *children, pid_t pid, int pidfd, struct child **ret_child)
{
    struct child *child;
    int err = add(children, &child);
    if (err < 0)
        return err;
    err = loop_add(children->loop, pidfd, EPOLLIN, on_adopted_end, child, &child->end_source);
    if (err < 0) {
        drop(child);
        return err;
    }
    child->pid = pid;
    child->pidfd = pidfd;
    *ret_child = child;
    return 0;
}

bool child_is_adopted(const struct child *child)
{
    return child->end_source != NULL;
}

int child_pidfd(struct child *child)
{
    if (child->pidfd < 0)
        child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    return child->pidfd < 0 ? -errno : child->pidfd;
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
    else if (child->end_source)
        syscall(SYS_pidfd_send_signal, child->pidfd, number, NULL, 0);
    else if (kill(-child->pid, number) < 0) /* it leads no group: a fork */
        kill(child->pid, number);
}

void child_stop(struct child *child, void (*stopped)(void *argument), void *argument)
{
    if (child->end_source) {
        child_signal(child, SIGSTOP);
        return;
    }
    child->stopped = stopped;
    child->stop_argument = argument;
    kill(child->pid, SIGSTOP);
    kill(getpid(), SIGCHLD); /* one that stands still already tells nothing more */
}

/* The third field of proc(5)'s stat, behind a name that may hold anything. */
static char state_of(int folder_fd, const char *task)
{
    char path[32], text[256];
    snprintf(path, sizeof(path), "%.20s/stat", task);
    AUTO_FD fd = openat(folder_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len < 0)
        return 'X'; /* the thread has ended */
    text[len] = '\0';
    const char *behind = strrchr(text, ')');
    return behind && behind[1] ? behind[2] : '?';
}

bool child_stands_still(const struct child *child)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)child->pid);
    DIR *folder = opendir(path);
    bool still = folder != NULL;
    for (const struct dirent *entry; still && (entry = readdir(folder));) {
        const char state = entry->d_name[0] == '.' ? 'T' : state_of(dirfd(folder), entry->d_name);
        still = state == 'T' || state == 'X';
    }
    if (folder)
        closedir(folder);
    return still;
}

void child_continue(struct child *child)
{
    child->stopped = NULL;
    if (child->end_source)
        child_signal(child, SIGCONT);
    else
        kill(child->pid, SIGCONT);
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
