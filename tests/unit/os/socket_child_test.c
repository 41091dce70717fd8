// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket_child.h"

#include "os/clock.h"
#include "os/socket.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS 7
#define MANY   1000 /* descriptors that are looked at */

/* Answers each message until the end. */
static int echo(int fd, const void *context)
{
    char bytes[16];
    ssize_t len;
    socket_child_close_others(fd);
    while ((len = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        send(fd, bytes, (size_t)len, 0);
    return context ? *(const int *)context : 0;
}

static void expect_status(int expected)
{
    int status;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void messages_reach_the_child_and_its_result_is_its_status(void **state)
{
    static const int status = STATUS;
    char bytes[16];
    int fd = socket_child_start(SOCK_SEQPACKET, echo, &status);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(send(fd, "one", 3, 0), 3);
    assert_int_equal(send(fd, "four", 4, 0), 4);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 3); /* messages, so a boundary each */
    assert_memory_equal(bytes, "one", 3);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 4);
    socket_child_end(fd);
    expect_status(STATUS);
}

static bool *map_mark(void)
{
    bool *mark =
        mmap(NULL, sizeof(*mark), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(mark, MAP_FAILED);
    return mark;
}

/* Marks shared memory when its end of the pair is about to close. */
static int mark_at_end(int fd, const void *context)
{
    char byte;
    socket_child_close_others(fd);
    while (read(fd, &byte, 1) > 0)
        ;
    **(bool *const *)context = true;
    return 0;
}

static void the_end_is_awaited(void **state)
{
    bool *mark = map_mark();
    int fd = socket_child_start(SOCK_STREAM, mark_at_end, &mark);
    assert_true(fd >= 0);
    assert_false(*mark);
    socket_child_end(fd);
    assert_true(*mark);
    expect_status(0);
    munmap(mark, sizeof(*mark));
}

static int speak_and_mark(int fd, const void *context)
{
    send(fd, "answer", 6, 0);
    return mark_at_end(fd, context);
}

/* An answer that nobody has read is no end. */
static void an_answer_that_waits_does_not_end_the_wait(void **state)
{
    bool *mark = map_mark();
    int fd = socket_child_start(SOCK_SEQPACKET, speak_and_mark, &mark);
    struct pollfd look = {.fd = fd, .events = POLLIN};
    assert_true(fd >= 0);
    assert_int_equal(poll(&look, 1, -1), 1);
    socket_child_end(fd);
    assert_true(*mark);
    expect_status(0);
    munmap(mark, sizeof(*mark));
}

/* Sends how many descriptors it has after all others are closed. */
static int count_descriptors(int fd, const void *context)
{
    int count = 0;
    socket_child_close_others(fd);
    for (int i = 0; i < MANY; i++)
        count += fcntl(i, F_GETFD) >= 0;
    send(fd, &count, sizeof(count), 0);
    return 0;
}

static void other_descriptors_are_closed(void **state)
{
    int count = -1;
    int fd = socket_child_start(SOCK_SEQPACKET, count_descriptors, NULL);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, &count, sizeof(count), 0), sizeof(count));
    assert_int_equal(count, 1);
    socket_child_end(fd);
    expect_status(0);
}

/* A moment after fork(2) the child has all that its parent has. */
static void the_child_has_nothing_of_its_parent_when_it_has_started(void **state)
{
    static const int status = STATUS;
    for (unsigned i = 0; i < 100; i++) {
        int pair[2];
        char byte;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        int fd = socket_child_start_apart(SOCK_STREAM, echo, &status);
        assert_true(fd >= 0);
        close(pair[0]);
        assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0); /* the end, and not EAGAIN */
        close(pair[1]);
        socket_child_end(fd);
        expect_status(STATUS);
    }
}

static void the_child_sees_the_end_of_a_process_that_says_nothing(void **state)
{
    static const int status = STATUS;
    int fd = socket_child_start(SOCK_STREAM, echo, &status);
    assert_true(fd >= 0);
    close(fd);
    expect_status(STATUS);
}

static void a_wrong_type_is_an_errno_and_leaves_no_child(void **state)
{
    assert_true(socket_child_start(-1, echo, NULL) < 0);
    assert_int_equal(wait(NULL), -1);
    assert_int_equal(errno, ECHILD);
}

#define PATIENCE_NS UINT64_C(60000000000)

struct report {
    bool has_others;    /* descriptors besides those of the log */
    bool is_in_nowhere; /* standard input and output */
    bool heeds_term;
    int context;
};

static struct report examine(const void *context)
{
    struct stat nowhere, in, out;
    sigset_t blocked;
    struct report report = {.context = *(const int *)context};
    stat("/dev/null", &nowhere);
    fstat(STDIN_FILENO, &in);
    fstat(STDOUT_FILENO, &out);
    report.is_in_nowhere = in.st_rdev == nowhere.st_rdev && out.st_rdev == nowhere.st_rdev;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    report.heeds_term = !sigismember(&blocked, SIGTERM);
    for (int fd = 4; fd < 64; fd++) /* descriptors of the log lie above */
        report.has_others |= fcntl(fd, F_GETFD) >= 0;
    return report;
}

static int tell(int fd, const void *context)
{
    fd = socket_child_stand_alone(fd);
    const struct report report = examine(context);
    char byte;
    socket_send(fd, &report, sizeof(report), -1);
    socket_wait(fd, POLLIN, clock_now_ns() + PATIENCE_NS);
    return recv(fd, &byte, 1, 0) == 0 ? 0 : 1;
}

static void a_child_that_stands_alone_has_one_descriptor(void **state)
{
    const int context = 1234;
    struct report report;
    struct received_fds fds;
    int status;
    int pipe_fd[2], wide = dup(STDERR_FILENO);
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    int fd = socket_child_start(SOCK_SEQPACKET, tell, &context);
    assert_true(fd >= 0);
    assert_int_equal(socket_wait(fd, POLLIN, clock_now_ns() + PATIENCE_NS), 0);
    assert_int_equal(socket_receive(fd, &report, sizeof(report), &fds), sizeof(report));
    assert_int_equal(report.context, context);
    assert_false(report.has_others);
    assert_true(report.is_in_nowhere);
    assert_false(report.heeds_term);
    socket_child_end(fd);
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    close(wide);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_child_that_stands_alone_has_one_descriptor),
        TEST(messages_reach_the_child_and_its_result_is_its_status),
        TEST(the_end_is_awaited),
        TEST(an_answer_that_waits_does_not_end_the_wait),
        TEST(other_descriptors_are_closed),
        TEST(the_child_has_nothing_of_its_parent_when_it_has_started),
        TEST(the_child_sees_the_end_of_a_process_that_says_nothing),
        TEST(a_wrong_type_is_an_errno_and_leaves_no_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
