// SPDX-License-Identifier: BSD-3-Clause
/*
 * Child processes: started without waiting, reaped by the loop.
 *
 * Each child leads a session and a process group of its own unless it is attached, has no descriptor
 * of ours but those it is given, and no signal blocked or ignored. A child whose owner forgot it is still reaped.
 */
#ifndef OUTBOARD_OS_CHILD_H
#define OUTBOARD_OS_CHILD_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "os/loop.h"

struct children;
struct child;

/* status: as of waitpid(2), or of child_exec_error(). The child is freed after the call. */
typedef void (*child_exit_fn)(void *argument, int status);

/* A program to start. Descriptors stay the caller's. */
struct child_spec {
    char *const *argv;        /* argv[0] is looked up on PATH */
    char *const *environment; /* NULL: ours */
    int fd[3]; /* become its descriptors 0, 1, 2: above those, or its own; -1: /dev/null */
    const char *terminal; /* path of a pseudo terminal for all three instead; NULL: none */
    rlim_t open_files;    /* its soft limit of open files; 0: ours */
    const int *passed;    /* become its descriptors 3, 4, ...; each is above all of these */
    unsigned passed_count;
    int group_fd;  /* cgroup.procs of its control group; 0 or -1: ours */
    bool attached; /* stays in our session and process group, so that the terminal is its, too */
};

/* Blocks SIGCHLD in this process and watches for it. One per process. */
int children_new(struct loop *loop, struct children **ret_children);
/* Children that live continue, unreaped. NULL is fine. */
void children_free(struct children *children);

/* Starts a program, without a wait for exec, which a file system that hangs may hold up. If exec
 * fails, the child ends with the status of child_exec_error(). 0, -EAGAIN (there are LIMIT_CHILDREN)
 * or another negative errno. */
int child_spawn(struct children *children, const struct child_spec *spec, struct child **ret_child);

/* The same for a caller who is to learn at once whether exec succeeds: *ret_failure_fd, which never
 * waits, ends when it has, or brings an errno, an int, when it has failed. */
int child_spawn_reported(struct children *children, const struct child_spec *spec,
                         int *ret_failure_fd, struct child **ret_child);

/* The errno of exec in the status of a child that could not become its program, else 0. For
 * waitpid(2)'s macros such a child has exited with 127. */
int child_exec_error(int status);

/* Forks this program: work(fd, context) runs in the child, with fd as its only descriptor besides
 * the standard ones, and its result is the exit status. */
int child_fork(struct children *children, int fd, int (*work)(int fd, const void *context),
               const void *context, struct child **ret_child);

/* A child that another process has started and reaps: `signal` passes a signal on to it, and
 * child_ended() tells its end, with a status as of waitpid(2). 0 or a negative errno. */
int child_adopt(struct children *children, void (*signal)(void *context, int number), void *context,
                struct child **ret_child);
void child_ended(struct child *child, int status);

/* A process that another one has started, and that is nobody's child: pidfd, which is taken over, tells
 * its end. Its status is not known; it is told as 0. 0 or a negative errno. */
int child_adopt_process(struct children *children, pid_t pid, int pidfd, struct child **ret_child);
/* Whether it is such a process. */
bool child_is_adopted(const struct child *child);
/* A pidfd of a child, which stays the child's; or a negative errno. */
int child_pidfd(struct child *child);

/* Says whom to tell of its end. Children end by the loop's leave only, so there is no hurry. */
void child_watch(struct child *child, child_exit_fn exited, void *argument);

pid_t child_pid(const struct child *child);

/* Sends a signal to the child and the group that it leads. */
void child_signal(struct child *child, int number);

/* Stops it, but not the group that it leads. When no thread of it runs, stopped() is called once.
 * SIGCONT lets it continue. Of an adopted process nobody tells: ask child_stands_still(). */
void child_stop(struct child *child, void (*stopped)(void *argument), void *argument);
/* Whether no thread of it runs, on account of a signal. */
bool child_stands_still(const struct child *child);
/* SIGCONT; stopped() is not called any more. */
void child_continue(struct child *child);

/* SIGHUP, also to those that are stopped. */
void child_hang_up(struct child *child);

/* The owner is not interested in its end any more. NULL is fine. */
void child_forget(struct child *child);

#endif
