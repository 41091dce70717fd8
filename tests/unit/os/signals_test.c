// SPDX-License-Identifier: BSD-3-Clause
#include "os/signals.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static void signals_that_end_come_as_bytes(void **state)
{
    int fd = signals_new();
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(signals_take(fd), -EAGAIN);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(signals_take(fd), SIGTERM);
    assert_int_equal(raise(SIGINT), 0);
    assert_int_equal(signals_take(fd), SIGINT);
    assert_int_equal(signals_take(fd), -EAGAIN);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(signals_that_end_come_as_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
