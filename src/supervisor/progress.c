// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/progress.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLEAR "\x1b[K"

/* A terminal that takes no bytes now is left alone: nothing waits for it. */
static void put(const char *text)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (!isatty(STDERR_FILENO) || poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT))
        return;
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

void progress_show(unsigned ready, unsigned all)
{
    char text[64];
    snprintf(text, sizeof(text), CLEAR "%u of %u devices are ready\r", ready, all);
    put(text);
}

void progress_end(void)
{
    put(CLEAR);
}
