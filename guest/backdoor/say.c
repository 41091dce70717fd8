// SPDX-License-Identifier: BSD-3-Clause
#include "say.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <outboard/fault.h>

#define PATIENCE_MS 1000

int standard_fds_open(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0)
            continue;
        /* The wrong way round, so that output is not lost without an error. */
        int fd = open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (fd < 0) /* a bare root file system; it holds the number */
            fd = open("/", O_PATH | O_DIRECTORY);
        if (fd != number)
            return -1;
    }
    return 0;
}

void say(const char *text)
{
    struct ob_fault printable = {0};
    char line[OB_FAULT_TEXT_LEN + 16];
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    ob_fault_set(&printable, -1, "%s", text);
    int len = snprintf(line, sizeof(line), "backdoor: %s\n", printable.text);
    signal(SIGPIPE, SIG_IGN); /* each write behind this may fail */
    if (poll(&room, 1, PATIENCE_MS) > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        return; /* nobody is there to be told */
}
