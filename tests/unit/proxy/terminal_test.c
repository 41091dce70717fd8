// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/terminal.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static void a_terminal_is_raw_and_comes_back(void **state)
{
    struct terminal before;
    struct termios at_first, now;
    int master, slave;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &at_first), 0);
    assert_int_equal(terminal_prepare(slave, &before), 0);
    assert_int_equal(tcgetattr(slave, &now), 0);
    assert_false(now.c_lflag & (ICANON | ECHO | ISIG));
    assert_true(fcntl(slave, F_GETFL) & O_NONBLOCK);
    terminal_put_back(slave, &before);
    assert_int_equal(tcgetattr(slave, &now), 0);
    assert_int_equal(now.c_lflag, at_first.c_lflag);
    assert_false(fcntl(slave, F_GETFL) & O_NONBLOCK);
    close(master);
    close(slave);
}

static void a_pipe_is_only_made_non_blocking(void **state)
{
    struct terminal before;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(terminal_prepare(ends[0], &before), 0);
    assert_true(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    terminal_put_back(ends[0], &before);
    assert_false(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    assert_true(terminal_remember(ends[0], &before) < 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_terminal_is_raw_and_comes_back),
        TEST(a_pipe_is_only_made_non_blocking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
