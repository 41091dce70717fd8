// SPDX-License-Identifier: BSD-3-Clause
#include "os/standard_fds.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: with those closed that the mask names, 0 to 2 are open afterwards, and those that
 * were open are the same. */
static int check_in_child(unsigned closed)
{
    struct stat before[3], after;
    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &before[fd]) < 0)
            return 1;
        if (closed & (1u << fd))
            close(fd);
    }
    if (standard_fds_open() != 0)
        return 2;
    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &after) < 0 || (fcntl(fd, F_GETFD) & FD_CLOEXEC))
            return 3;
        if ((closed & (1u << fd)) ? !S_ISCHR(after.st_mode) : after.st_ino != before[fd].st_ino)
            return 4;
        if (closed & (1u << fd) && (fd == 0 ? read(fd, &after, 1) : write(fd, "x", 1)) >= 0)
            return 6; /* it takes what a closed one would not */
    }
    return fcntl(3, F_GETFD) < 0 ? 0 : 5; /* nothing else was left open */
}

static void closed_ones_are_opened_and_others_left(void **state)
{
    for (unsigned closed = 0; closed < 8; closed++) {
        pid_t child = fork();
        if (child == 0) {
            closefrom(3);
            _exit(check_in_child(closed));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(closed_ones_are_opened_and_others_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
