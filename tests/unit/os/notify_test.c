// SPDX-License-Identifier: BSD-3-Clause
#include "os/notify.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Listens at a name as a launcher does and checks that a notification comes. */
static void check_name(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len);
    if (*name == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    assert_int_equal(notify_send("READY=1\nSTATUS=testing"), 0);
    char text[64] = {0};
    assert_int_equal(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 22);
    assert_string_equal(text, "READY=1\nSTATUS=testing");
    close(fd);
}

static void tells_a_launcher_at_a_path(void **state)
{
    char folder[] = "/tmp/outboard-test-XXXXXX", path[80];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/notify", folder);
    check_name(path);
    unlink(path);
    assert_int_equal(notify_send("READY=1"), -ENOENT); /* it has gone */
    assert_int_equal(rmdir(folder), 0);
}

static void tells_a_launcher_at_an_abstract_name(void **state)
{
    char name[64];
    snprintf(name, sizeof(name), "@outboard-test-%d", (int)getpid());
    check_name(name);
    assert_int_equal(notify_send("READY=1"), -ECONNREFUSED);
}

/* Once connected, it is told though its path is gone: a program may be unable to open paths. */
static void a_connected_launcher_needs_no_path(void **state)
{
    char folder[] = "/tmp/outboard-test-XXXXXX", text[64] = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(folder));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
    int launcher = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = -1;
    assert_int_equal(bind(launcher, (struct sockaddr *)&address, sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    assert_int_equal(notify_connect(&fd), 0);
    assert_int_equal(unlink(address.sun_path), 0);
    assert_int_equal(rmdir(folder), 0);
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_send_to(fd, "STATUS=well"), 0);
    assert_int_equal(recv(launcher, text, sizeof(text) - 1, MSG_DONTWAIT), 11);
    assert_string_equal(text, "STATUS=well");
    close(launcher);
    assert_int_equal(notify_send_to(fd, "STATUS=alone"), -ECONNREFUSED);
    close(fd);
}

static void without_a_launcher_nothing_happens(void **state)
{
    int fd = 0;

    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(notify_send("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(notify_send("READY=1"), 0);
    assert_int_equal(notify_connect(&fd), 0);
    assert_int_equal(fd, -1);
    assert_int_equal(notify_send_to(fd, "READY=1"), 0);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
    char name[200];
    memset(name, '@', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tells_a_launcher_at_a_path),         TEST(tells_a_launcher_at_an_abstract_name),
        TEST(a_connected_launcher_needs_no_path), TEST(without_a_launcher_nothing_happens),
        TEST(a_name_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
