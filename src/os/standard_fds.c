// SPDX-License-Identifier: BSD-3-Clause
#include "os/standard_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* It is opened the wrong way round, so that its user learns that nothing was there: output
 * is not lost without an error. Without /dev/null (a bare root file system) a descriptor that can
 * neither be read nor written holds the number. */
static int open_placeholder(int number)
{
    int fd = open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    return fd < 0 ? open("/", O_PATH | O_DIRECTORY) : fd;
}

int standard_fds_open(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0)
            continue;
        int fd = open_placeholder(number); /* the lowest number that is free: this one */
        if (fd != number)
            return fd < 0 ? -errno : -EBADF;
    }
    return 0;
}
