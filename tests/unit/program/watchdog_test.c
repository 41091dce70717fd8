// SPDX-License-Identifier: BSD-3-Clause
#include "program/watchdog.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct scene {
    struct loop *loop;
    struct watchdog watchdog;
    int launcher, program; /* ends of the notify socket */
};

static void set_up(struct scene *scene, const char *usec, const char *pid)
{
    int ends[2];
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (usec)
        setenv("WATCHDOG_USEC", usec, 1);
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
    scene->launcher = ends[0];
    scene->program = ends[1];
    assert_int_equal(loop_new(&scene->loop), 0);
    assert_int_equal(watchdog_begin(&scene->watchdog, scene->loop, scene->program), 0);
}

static void tear_down(struct scene *scene)
{
    watchdog_end(&scene->watchdog);
    loop_free(scene->loop);
    close(scene->launcher);
    close(scene->program);
}

/* The loop sends, and only the loop. */
static void test_signs_of_life(void **state)
{
    struct scene scene;
    char text[64], pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    set_up(&scene, "2000", pid);
    for (int i = 0; i < 3; i++) {
        while (loop_wait(scene.loop, -1) <= 0)
            ;
        ssize_t len = recv(scene.launcher, text, sizeof(text), 0);
        assert_int_equal(len, strlen("WATCHDOG=1"));
        assert_memory_equal(text, "WATCHDOG=1", strlen("WATCHDOG=1"));
        assert_true(recv(scene.launcher, text, sizeof(text), 0) < 0);
    }
    tear_down(&scene);
}

static void test_a_launcher_that_does_not_ask(void **state)
{
    static const struct {
        const char *usec, *pid;
    } cases[] = {{NULL, NULL}, {"0", NULL}, {"1000x", NULL}, {"1000", "1"}, {"1000", "me"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene scene;
        set_up(&scene, cases[i].usec, cases[i].pid);
        assert_int_equal(scene.watchdog.ticker_fd, -1);
        assert_null(scene.watchdog.source);
        tear_down(&scene);
    }
}

static void test_no_notify_socket(void **state)
{
    struct watchdog watchdog;
    struct loop *loop;
    setenv("WATCHDOG_USEC", "1000", 1);
    unsetenv("WATCHDOG_PID");
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(watchdog_begin(&watchdog, loop, -1), 0);
    assert_int_equal(watchdog.ticker_fd, -1);
    watchdog_end(&watchdog);
    loop_free(loop);
}

/* An interval beyond what a ticker can is the longest that it can. */
static void test_a_long_interval(void **state)
{
    struct scene scene;
    set_up(&scene, "18446744073709551615", NULL);
    assert_true(scene.watchdog.ticker_fd >= 0);
    assert_int_equal(loop_wait(scene.loop, 0), 0);
    tear_down(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_signs_of_life),
        TEST(test_a_launcher_that_does_not_ask),
        TEST(test_no_notify_socket),
        TEST(test_a_long_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
