// SPDX-License-Identifier: BSD-3-Clause
#include "child_model.h"

#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int __wrap_children_new(struct loop *loop, struct children **ret_children);
void __wrap_children_free(struct children *children);
int __wrap_child_spawn(struct children *children, const struct child_spec *spec,
                       struct child **ret_child);
int __wrap_child_fork(struct children *children, int fd, int (*work)(int fd, const void *context),
                      const void *context, struct child **ret_child);
void __wrap_child_watch(struct child *child, child_exit_fn exited, void *argument);
void __wrap_child_signal(struct child *child, int number);
void __wrap_child_hang_up(struct child *child);
void __wrap_child_forget(struct child *child);
int __wrap_environment_new(char *const *ours, const char *passwd_path, uid_t user,
                           char ***ret_environment);
int __wrap_environment_set(char ***environment, const char *variable);
void __wrap_environment_free(char **environment);

void child_close(struct child *child, int index)
{
    end_release(child->ends[index]);
    child->ends[index] = NULL;
    if (!child->ends[0] && !child->ends[1])
        child_falls_silent(child);
}

void child_ends(struct child *child, int status)
{
    if (child->over)
        return;
    for (int i = 0; i < 3; i++)
        child_close(child, i);
    child->over = true;
    child->status = status;
    kernel.progress++;
    kernel_find(child->children->fd)->count = 1;
}

static void drop(struct child *child)
{
    for (int i = 0; i < 3; i++)
        child_close(child, i);
    child_is_gone(child);
    child->children->count--;
    list_remove(&child->link);
    free(child);
}

static void reap(void *argument, uint32_t events)
{
    struct children *children = argument;
    struct list *next;
    kernel_find(children->fd)->count = 0;
    for (struct list *link = children->list.next; link != &children->list; link = next) {
        struct child *child = list_entry(link, struct child, link);
        next = link->next;
        if (!child->over)
            continue;
        if (child->exited)
            child->exited(child->argument, child->status);
        drop(child);
    }
}

int __wrap_children_new(struct loop *loop, struct children **ret_children)
{
    struct children *children = calloc(1, sizeof(*children));
    list_init(&children->list);
    children->fd = kernel_open(DESCRIPTOR_EVENT, 0);
    CHECK(children->fd >= 0);
    CHECK(loop_add(loop, children->fd, EPOLLIN, reap, children, &children->source) == 0);
    *ret_children = children;
    return 0;
}

void __wrap_children_free(struct children *children)
{
    if (!children)
        return;
    while (!list_empty(&children->list))
        drop(list_entry(children->list.next, struct child, link));
    loop_remove(children->source);
    kernel_close(children->fd);
    free(children);
}

static struct end *inherit(int fd)
{
    struct descriptor *descriptor = fd < KERNEL_FD_FIRST ? NULL : kernel_find(fd);
    if (!descriptor)
        return NULL;
    CHECK(descriptor->end);
    end_hold(descriptor->end);
    return descriptor->end;
}

/* The terminal behind the descriptor in its path. */
static struct end *open_terminal(const char *path)
{
    int fd = 0;
    CHECK(sscanf(path, "/dev/pts/%d", &fd) == 1);
    struct end *terminal = kernel_find(fd)->end->peer;
    if (terminal->unopened)
        terminal->unopened = false;
    else
        end_hold(terminal);
    return terminal;
}

static struct child *add(struct children *children)
{
    struct child *child = calloc(1, sizeof(*child));
    child->children = children;
    children->count++;
    list_init(&child->link);
    list_append(&children->list, &child->link);
    kernel.progress++;
    return child;
}

static int failure(void)
{
    static const int errors[] = {ENOENT, EAGAIN, ENOMEM, EACCES};
    uint8_t choice = kernel_ops->choose();
    return choice >= 0xe0 ? -errors[choice % 4] : 0;
}

int __wrap_child_spawn(struct children *children, const struct child_spec *spec,
                       struct child **ret_child)
{
    int err = failure();
    if (err < 0)
        return err;
    struct child *child = add(children);
    child->resolves = strcmp(spec->argv[0], "getent") == 0;
    for (int i = 0; i < 3; i++)
        child->ends[i] = spec->terminal ? open_terminal(spec->terminal) : inherit(spec->fd[i]);
    child_begins(child);
    *ret_child = child;
    return 0;
}

int __wrap_child_fork(struct children *children, int fd, int (*work)(int fd, const void *context),
                      const void *context, struct child **ret_child)
{
    int err = failure();
    if (err < 0)
        return err;
    struct child *child = add(children);
    child->resolves = true;
    child->ends[1] = inherit(fd);
    child_begins(child);
    *ret_child = child;
    return 0;
}

void __wrap_child_watch(struct child *child, child_exit_fn exited, void *argument)
{
    child->exited = exited;
    child->argument = argument;
}

/* Signals whose usual action is another do nothing. */
void __wrap_child_signal(struct child *child, int number)
{
    if (number == SIGKILL || number == SIGHUP || number == SIGTERM || number == SIGINT)
        child_ends(child, number);
}

void __wrap_child_hang_up(struct child *child)
{
    __wrap_child_signal(child, SIGHUP);
}

void __wrap_child_forget(struct child *child)
{
    if (child)
        child->exited = NULL;
}

/* What a command's environment is has a test of its own. */
int __wrap_environment_new(char *const *ours, const char *passwd_path, uid_t user,
                           char ***ret_environment)
{
    *ret_environment = NULL;
    return 0;
}

int __wrap_environment_set(char ***environment, const char *variable)
{
    return 0;
}

void __wrap_environment_free(char **environment)
{
}
