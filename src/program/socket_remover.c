// SPDX-License-Identifier: BSD-3-Clause
#include "program/socket_remover.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/socket_child.h"
#include "sandbox/outsider.h"

struct removal {
    const char *path;
    const struct socket_place *place;
};

static int wait_and_remove(int fd, const void *context)
{
    const struct removal *removal = context;
    const struct outsider_plan plan = {.makes_sockets = true, .reads_nothing = true};
    char byte;
    socket_child_close_others(fd);
    outsider_confine(&plan); /* as far as the kernel can */
    while (read(fd, &byte, 1) < 0 && errno == EINTR) {}
    socket_remove(removal->path, removal->place);
    return EXIT_SUCCESS;
}

int socket_remover_start(const char *path, const struct socket_place *place)
{
    const struct removal removal = {path, place};
    return socket_child_start_apart(SOCK_STREAM, wait_and_remove, &removal);
}

void socket_remover_finish(int fd)
{
    socket_child_end(fd);
}
