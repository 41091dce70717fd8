// SPDX-License-Identifier: BSD-3-Clause
#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/list.h"

struct children {
    struct list list;
    int signal_fd;
    struct loop_source *source;
};

struct child {
    struct list link;
    pid_t pid;
    child_exit_fn exited; /* NULL: forgotten */
    void *argument;
};

static void reap(struct children *children)
{
    struct list *next;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        struct child *child = list_entry(link, struct child, link);
        int status;
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): none that was freed is still in the list
        next = link->next;
        if (waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        list_remove(&child->link);
        if (child->exited)
            child->exited(child->argument, status);
        free(child);
        next = children->list.next; /* the callback may have changed the list: begin anew */
    }
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
    while (!list_empty(&children->list)) {
        free(list_entry(list_take(&children->list), struct child, link));
    }
    loop_remove(children->source);
    close(children->signal_fd);
    free(children);
}

static struct child *add(struct children *children)
{
    struct child *child = calloc(1, sizeof(*child));
    if (!child)
        return NULL;
    list_init(&child->link);
    list_append(&children->list, &child->link);
    return child;
}

static void drop(struct child *child)
{
    list_remove(&child->link);
    free(child);
}

/* Opened by a session's leader that has none, the terminal becomes its controlling one. */
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
    return err ? err : posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

static int plan_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSID);
}

int child_spawn(struct children *children, const struct child_spec *spec, struct child **ret_child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    struct child *child = add(children);
    if (!child)
        return -ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int err = plan_descriptors(&actions, spec);
    if (err == 0)
        err = plan_signals(&attributes);
    if (err == 0)
        err = posix_spawnp(&child->pid, spec->argv[0], &actions, &attributes, spec->argv,
                           spec->environment ? spec->environment : environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (err) {
        drop(child);
        return -err;
    }
    *ret_child = child;
    return 0;
}

int child_fork(struct children *children, int fd, int (*work)(int fd, const void *context),
               const void *context, struct child **ret_child)
{
    struct child *child = add(children);
    if (!child)
        return -ENOMEM;
    child->pid = fork();
    if (child->pid < 0) {
        int err = -errno;
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

void child_watch(struct child *child, child_exit_fn exited, void *argument)
{
    child->exited = exited;
    child->argument = argument;
}

void child_signal(struct child *child, int number)
{
    if (kill(-child->pid, number) < 0) /* it leads no group: a fork */
        kill(child->pid, number);
}

void child_forget(struct child *child)
{
    if (child)
        child->exited = NULL;
}
