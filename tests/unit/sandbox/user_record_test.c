// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/user_record.h"

#include "sandbox/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#define FIRST 0x70001000u
#define COUNT 4u

static char folder[] = "/tmp/user-record-XXXXXX";

static int set_up(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    char path[sizeof(folder) + 8];
    snprintf(path, sizeof(path), "%s/users", folder);
    unlink(path);
    return rmdir(folder);
}

static int take(uid_t *ret_user)
{
    return user_record_take(folder, FIRST, COUNT, ret_user);
}

static void two_never_share(void **state)
{
    int fds[COUNT];
    bool seen[COUNT] = {false};
    uid_t user = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = take(&user);
        assert_true(fds[i] >= 0);
        assert_in_range(user, FIRST, FIRST + COUNT - 1);
        assert_false(seen[user - FIRST]);
        seen[user - FIRST] = true;
    }
    user = 7;
    assert_int_equal(take(&user), -EBUSY);
    assert_int_equal(user, 7);
    for (unsigned i = 0; i < COUNT; i++)
        close(fds[i]);
}

static void an_id_is_taken_by_its_number_once(void **state)
{
    uid_t user = 0;
    int fd = user_record_take(folder, 1234, 1, &user);
    assert_true(fd >= 0);
    assert_int_equal(user, 1234);
    assert_int_equal(user_record_take(folder, 1234, 1, &user), -EBUSY);
    close(fd);
    fd = user_record_take(folder, 1234, 1, &user);
    assert_true(fd >= 0);
    close(fd);
}

static void the_descriptor_can_only_read(void **state)
{
    uid_t user;
    int fd = take(&user);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

/* Takes all ids, says so, and waits to be killed. */
static pid_t take_all_in_a_child(void)
{
    int said[2];
    char byte;
    assert_int_equal(pipe(said), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        uid_t user;
        for (unsigned i = 0; i < COUNT; i++)
            CHILD_ASSERT(take(&user) >= 0);
        CHILD_ASSERT(write(said[1], "", 1) == 1);
        for (;;)
            pause();
    }
    close(said[1]);
    assert_int_equal(read(said[0], &byte, 1), 1);
    close(said[0]);
    return pid;
}

static void ids_of_a_killed_process_are_free(void **state)
{
    uid_t user;
    pid_t pid = take_all_in_a_child();
    assert_int_equal(take(&user), -EBUSY);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    int fd = take(&user);
    assert_true(fd >= 0);
    close(fd);
}

static void a_record_that_cannot_be_made_is_an_error(void **state)
{
    uid_t user = 7;
    assert_int_equal(user_record_take("/dev/null", FIRST, COUNT, &user), -ENOTDIR);
    assert_int_equal(user, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_never_share),
        TEST(an_id_is_taken_by_its_number_once),
        TEST(the_descriptor_can_only_read),
        TEST(ids_of_a_killed_process_are_free),
        TEST(a_record_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
