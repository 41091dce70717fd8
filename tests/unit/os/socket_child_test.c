// SPDX-License-Identifier: BSD-3-Clause
#include "os/socket_child.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS 7
#define MANY   1000 /* descriptors that are looked at */

/* Answers each message until the end. */
static int echo(int fd, const void *context)
{
    char bytes[16];
    ssize_t len;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_reach_the_child_and_its_result_is_its_status),
        TEST(the_end_is_awaited),
        TEST(an_answer_that_waits_does_not_end_the_wait),
        TEST(other_descriptors_are_closed),
        TEST(the_child_sees_the_end_of_a_process_that_says_nothing),
        TEST(a_wrong_type_is_an_errno_and_leaves_no_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
