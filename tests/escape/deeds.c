// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct escape_deed *const groups[] = {
    escape_paths,  escape_sockets,     escape_processes, escape_memory,
    escape_kernel, escape_descriptors, escape_ring,
};

const struct escape_deed *escape_deed(size_t number)
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        for (const struct escape_deed *deed = groups[i]; deed->name; deed++)
            if (number-- == 0)
                return deed;
    return NULL;
}

const struct escape_deed *escape_find(const char *name)
{
    const struct escape_deed *deed;
    for (size_t i = 0; (deed = escape_deed(i)); i++)
        if (strcmp(deed->name, name) == 0)
            return deed;
    return NULL;
}

struct escape_path escape_in(const struct escape_world *world, const char *name)
{
    struct escape_path path;
    snprintf(path.text, sizeof(path.text), "%s/%s", world->folder, name);
    return path;
}

struct sockaddr_un escape_at(const struct escape_world *world, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", world->folder, name);
    return address;
}

long escape_result(long value)
{
    return value < 0 ? -errno : 0;
}

void escape_keep_descriptors(const struct escape_world *world, bool begins)
{
    const int fds[] = {world->sibling_fd,  world->stream_fd,   world->datagram_fd,
                       world->readonly_fd, world->listener_fd, world->memory_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] > 2)
            fcntl(fds[i], F_SETFD, begins ? FD_CLOEXEC : 0);
}

struct escape_world *escape_prepare(void)
{
    const char *number = getenv(ESCAPE_VARIABLE);
    if (!number)
        return NULL;
    int fd = atoi(number);
    struct escape_world *world =
        mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    unsetenv(ESCAPE_VARIABLE);
    if (world == MAP_FAILED)
        abort();
    escape_keep_descriptors(world, true);
    return world;
}

void escape_do(struct escape_world *world)
{
    const struct escape_deed *deed = escape_find(world->deed);
    world->state = ESCAPE_BEGUN;
    syscall(SYS_futex, &world->state, FUTEX_WAKE, 1, NULL, NULL, 0);
    world->result = deed ? deed->act(world) : -ENOENT;
    world->state = ESCAPE_ENDED;
    syscall(SYS_futex, &world->state, FUTEX_WAKE, 1, NULL, NULL, 0);
    _exit(0);
}

void escape_await(const struct escape_world *world, int timeout_ms)
{
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000};
    for (int state = world->state; state != ESCAPE_ENDED; state = world->state)
        if (syscall(SYS_futex, &world->state, FUTEX_WAIT, state, &timeout, NULL, 0) < 0 &&
            errno == ETIMEDOUT)
            return;
}
