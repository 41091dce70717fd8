// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/environment.h"

#include "support.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char passwd[] = "# a comment\n"
                             "root:x:0:0:root:/root:/bin/bash\n"
                             "+::::::\n"
                             "worker:x:1234:1234:A Worker,,,:/home/worker:/bin/dash\n"
                             "shellless:x:1235:1235::/srv:\n";

static void make(char *const *ours, uid_t user, char ***ret_environment)
{
    char path[] = "/tmp/outboard-passwd-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, passwd, strlen(passwd)), strlen(passwd));
    close(fd);
    assert_int_equal(environment_new(ours, path, user, ret_environment), 0);
    unlink(path);
}

/* The value of NAME, which is there once; NULL: it is not there. */
static const char *value_of(char *const *environment, const char *name)
{
    const char *value = NULL;
    for (; *environment; environment++) {
        size_t len = strlen(name);
        if (strncmp(*environment, name, len) != 0 || (*environment)[len] != '=')
            continue;
        assert_null(value);
        value = *environment + len + 1;
    }
    return value;
}

static void the_user_is_the_one_of_the_passwd_file(void **state)
{
    char *ours[] = {(char *)"HOME=/somewhere", (char *)"USER=root", (char *)"LANG=C", NULL};
    char **environment;
    make(ours, 1234, &environment);
    assert_string_equal(value_of(environment, "HOME"), "/home/worker");
    assert_string_equal(value_of(environment, "USER"), "worker");
    assert_string_equal(value_of(environment, "LOGNAME"), "worker");
    assert_string_equal(value_of(environment, "SHELL"), "/bin/dash");
    assert_string_equal(value_of(environment, "LANG"), "C");
    assert_non_null(value_of(environment, "PATH"));
    environment_free(environment);
}

static void a_user_without_an_entry_has_what_we_have(void **state)
{
    char *ours[] = {(char *)"HOME=/somewhere", (char *)"PATH=/x", NULL}, *none[] = {NULL};
    char **environment;
    make(ours, 4321, &environment);
    assert_string_equal(value_of(environment, "HOME"), "/somewhere");
    assert_string_equal(value_of(environment, "SHELL"), "/bin/sh");
    assert_string_equal(value_of(environment, "PATH"), "/x");
    assert_null(value_of(environment, "USER"));
    environment_free(environment);
    make(none, 1235, &environment);
    assert_string_equal(value_of(environment, "HOME"), "/srv");
    assert_string_equal(value_of(environment, "SHELL"), "/bin/sh");
    environment_free(environment);
    assert_int_equal(environment_new(none, "/nonexistent", 0, &environment), 0);
    assert_string_equal(value_of(environment, "HOME"), "/");
    environment_free(environment);
}

static void what_the_service_manager_said_is_left_out(void **state)
{
    char *ours[] = {(char *)"NOTIFY_SOCKET=/n",      (char *)"LISTEN_FDS=1",
                    (char *)"LISTEN_PID=2",          (char *)"LISTEN_FDNAMES=x",
                    (char *)"WATCHDOG_USEC=1",       (char *)"WATCHDOG_PID=1",
                    (char *)"INVOCATION_ID=1",       (char *)"JOURNAL_STREAM=8:1",
                    (char *)"SYSTEMD_EXEC_PID=1",    (char *)"MEMORY_PRESSURE_WATCH=x",
                    (char *)"MANAGERPID=1",          (char *)"CREDENTIALS_DIRECTORY=/c",
                    (char *)"NOTIFY_SOCKETS=stays",  (char *)"LISTEN=stays",
                    (char *)"JOURNAL_STREAM_=stays", NULL};
    char **environment;
    make(ours, 0, &environment);
    for (size_t i = 0; environment[i]; i++) {
        static const char *const expected[] = {"NOTIFY_SOCKETS", "LISTEN", "JOURNAL_STREAM_",
                                               "HOME",           "USER",   "LOGNAME",
                                               "SHELL",          "PATH"};
        bool known = false;
        for (size_t j = 0; j < sizeof(expected) / sizeof(expected[0]); j++)
            known =
                known || strncmp(environment[i], expected[j], strcspn(environment[i], "=")) == 0;
        assert_true(known);
    }
    assert_string_equal(value_of(environment, "LISTEN"), "stays");
    environment_free(environment);
}

static void setting_takes_the_place(void **state)
{
    char *ours[] = {(char *)"TERM=linux", (char *)"TERMINFO=/x", NULL};
    char **environment;
    make(ours, 0, &environment);
    assert_int_equal(environment_set(&environment, "TERM=vt100"), 0);
    assert_int_equal(environment_set(&environment, "NEW=1"), 0);
    assert_string_equal(value_of(environment, "TERM"), "vt100");
    assert_string_equal(value_of(environment, "TERMINFO"), "/x");
    assert_string_equal(value_of(environment, "NEW"), "1");
    environment_free(environment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_user_is_the_one_of_the_passwd_file),
        TEST(a_user_without_an_entry_has_what_we_have),
        TEST(what_the_service_manager_said_is_left_out),
        TEST(setting_takes_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
