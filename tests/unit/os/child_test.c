// SPDX-License-Identifier: BSD-3-Clause
#include "os/child.h"

#include "base/limits.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct party {
    struct loop *loop;
    struct children *children;
    int status; /* -1: not ended */
};

static void exited(void *argument, int status)
{
    struct party *party = argument;
    party->status = status;
}

static void set_up(struct party *party)
{
    *party = (struct party){.status = -1};
    assert_int_equal(loop_new(&party->loop), 0);
    assert_int_equal(children_new(party->loop, &party->children), 0);
}

static void tear_down(struct party *party)
{
    children_free(party->children);
    loop_free(party->loop);
}

static int wait_for_end(struct party *party)
{
    while (party->status == -1)
        assert_true(loop_wait(party->loop, 60000) > 0);
    return party->status;
}

static struct child *spawn(struct party *party, const char *script, int out)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
    struct child_spec spec = {.argv = argv, .fd = {-1, out, -1}};
    struct child *child;
    assert_int_equal(child_spawn(party->children, &spec, &child), 0);
    child_watch(child, exited, party);
    return child;
}

static void status_is_told(void **state)
{
    struct party party;
    set_up(&party);
    spawn(&party, "exit 7", -1);
    int status = wait_for_end(&party);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    tear_down(&party);
}

static void signals_reach_the_group(void **state)
{
    struct party party;
    int ends[2];
    char byte;
    set_up(&party);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct child *child = spawn(&party, "sleep 1000 & echo x; wait", ends[1]);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    child_signal(child, SIGTERM);
    assert_true(WIFSIGNALED(wait_for_end(&party)));
    while (read(ends[0], &byte, 1) > 0) /* ends when the grandchild has ended, too */
        ;
    close(ends[0]);
    tear_down(&party);
}

static void child_has_nothing_of_ours(void **state)
{
    struct party party;
    int ends[2];
    char script[200], text[64] = "";
    set_up(&party);
    assert_int_equal(pipe2(ends, 0), 0); /* not even close-on-exec */
    snprintf(script, sizeof(script),
             "[ -e /proc/$$/fd/%d ] || printf closed;"
             "grep -q 'SigBlk:.0000000000000000' /proc/self/status && printf unblocked",
             ends[0]);
    spawn(&party, script, ends[1]);
    close(ends[1]);
    wait_for_end(&party);
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    assert_string_equal(text, "closedunblocked");
    close(ends[0]);
    tear_down(&party);
}

static void missing_program_is_an_errno(void **state)
{
    struct party party;
    char *const argv[] = {(char *)"no-such-program", NULL};
    struct child_spec spec = {.argv = argv, .fd = {-1, -1, -1}};
    struct child *child;
    set_up(&party);
    assert_int_equal(child_spawn(party.children, &spec, &child), 0);
    child_watch(child, exited, &party);
    int status = wait_for_end(&party);
    assert_int_equal(child_exec_error(status), ENOENT);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 127);
    tear_down(&party);
}

static int say_seven(int fd, const void *context)
{
    return fd == 3 && fcntl(4, F_GETFD) < 0 && strcmp(context, "context") == 0 ? 7 : 1;
}

static void forks_keep_one_descriptor(void **state)
{
    struct party party;
    struct child *child;
    set_up(&party);
    assert_int_equal(child_fork(party.children, STDERR_FILENO, say_seven, "context", &child), 0);
    child_watch(child, exited, &party);
    assert_int_equal(WEXITSTATUS(wait_for_end(&party)), 7);
    tear_down(&party);
}

static void forgotten_child_is_reaped(void **state)
{
    struct party party;
    set_up(&party);
    child_forget(spawn(&party, "true", -1));
    siginfo_t info;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) /* until there is none */
        assert_true(loop_wait(party.loop, 60000) > 0);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(party.status, -1);
    tear_down(&party);
}

static void count_up(void *argument)
{
    ++*(unsigned *)argument;
}

static void stop(struct party *party, struct child *child)
{
    unsigned stops = 0;
    child_stop(child, count_up, &stops);
    while (stops == 0)
        assert_true(loop_wait(party->loop, 60000) > 0);
    assert_int_equal(stops, 1);
    child_continue(child);
}

/* Also if somebody else has stopped it before. */
static void stop_is_told(void **state)
{
    struct party party;
    siginfo_t info;
    set_up(&party);
    struct child *child = spawn(&party, "exec sleep 1000", -1);
    stop(&party, child);
    stop(&party, child);
    kill(child_pid(child), SIGSTOP);
    assert_int_equal(waitid(P_PID, (id_t)child_pid(child), &info, WSTOPPED | WNOWAIT), 0);
    stop(&party, child);
    child_signal(child, SIGTERM);
    assert_int_equal(WTERMSIG(wait_for_end(&party)), SIGTERM);
    tear_down(&party);
}

/* A child of somebody else, here of ours by another way: its end is told, and it is not reaped. */
static void adopted_process_is_watched(void **state)
{
    struct party party;
    struct child *child;
    siginfo_t info;
    set_up(&party);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    assert_true(pidfd >= 0);
    assert_int_equal(child_adopt_process(party.children, pid, pidfd, &child), 0);
    assert_true(child_is_adopted(child));
    assert_int_equal(child_pid(child), pid);
    assert_int_equal(child_pidfd(child), pidfd);
    assert_false(child_stands_still(child));
    child_stop(child, NULL, NULL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0);
    assert_true(child_stands_still(child));
    child_continue(child);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WCONTINUED), 0);
    assert_false(child_stands_still(child));
    child_watch(child, exited, &party);
    child_signal(child, SIGKILL);
    assert_int_equal(wait_for_end(&party), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED), 0);
    tear_down(&party);
}

static int say_nothing(int fd, const void *context)
{
    return 0;
}

static int wait_for_end_of_file(int fd, const void *context)
{
    char byte;
    return read(fd, &byte, 1) == 0 ? 0 : 1;
}

static void children_are_limited(void **state)
{
    struct party party;
    struct child *child;
    int ends[2];
    set_up(&party);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < LIMIT_CHILDREN; i++)
        assert_int_equal(child_fork(party.children, ends[0], wait_for_end_of_file, NULL, &child),
                         0);
    assert_int_equal(child_fork(party.children, ends[0], wait_for_end_of_file, NULL, &child),
                     -EAGAIN);
    close(ends[0]);
    close(ends[1]);
    while (child_fork(party.children, STDIN_FILENO, say_nothing, NULL, &child) == -EAGAIN)
        assert_true(loop_wait(party.loop, 60000) > 0);
    child_watch(child, exited, &party);
    wait_for_end(&party);
    tear_down(&party);
}

/* Starts a program without a wait for exec, reads the result of that, and waits for its end. */
static int start_unwaited(struct party *party, const char *path, int out)
{
    char *const argv[] = {(char *)path, (char *)"-c", (char *)"exit 3", NULL};
    const struct child_spec spec = {.argv = argv, .fd = {-1, out, -1}};
    struct child *child;
    int failure_fd, err = 0;
    assert_int_equal(child_spawn_reported(party->children, &spec, &failure_fd, &child), 0);
    child_watch(child, exited, party);
    struct pollfd wait = {.fd = failure_fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, -1), 1);
    ssize_t got = read(failure_fd, &err, sizeof(err));
    assert_true(got == 0 || got == sizeof(err));
    close(failure_fd);
    party->status = -1;
    wait_for_end(party);
    return err;
}

static void exec_is_not_waited_for(void **state)
{
    struct party party;
    set_up(&party);
    assert_int_equal(start_unwaited(&party, "sh", -1), 0);
    assert_int_equal(WEXITSTATUS(party.status), 3);
    assert_int_equal(start_unwaited(&party, "/nonexistent", -1), ENOENT);
    assert_int_equal(start_unwaited(&party, "/", STDERR_FILENO + 1000), EBADF);
    assert_int_equal(start_unwaited(&party, "/", -1), EACCES);
    tear_down(&party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(status_is_told),
        TEST(signals_reach_the_group),
        TEST(child_has_nothing_of_ours),
        TEST(missing_program_is_an_errno),
        TEST(forks_keep_one_descriptor),
        TEST(forgotten_child_is_reaped),
        TEST(stop_is_told),
        TEST(adopted_process_is_watched),
        TEST(children_are_limited),
        TEST(exec_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
