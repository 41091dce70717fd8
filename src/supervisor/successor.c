// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/successor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/vault_head.h"

static void drop(int *fd)
{
    auto_close(fd);
    *fd = -1;
}

void successor_init(struct successor *successor)
{
    *successor = (struct successor){.life = DEVICE_LIFE_NONE, .turn_fd = -1, .keeper_fd = -1};
}

/* A pair of numbers that no process has for another purpose; the first is ours. */
static int make_pair(int *ret_ours, int *ret_theirs)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_ours = fcntl(ends[0], F_DUPFD_CLOEXEC, SPARE_FD);
    *ret_theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, SPARE_FD);
    close(ends[0]);
    close(ends[1]);
    return *ret_ours < 0 || *ret_theirs < 0 ? -EMFILE : 0;
}

static int start(struct successor *successor, const struct device_life_spec *spec, int vault_fd)
{
    AUTO_FD keeper_fd = -1;
    AUTO_FD turn_fd = -1;
    AUTO_FREE char *variable = NULL;
    const int first_fd = device_life_first_fd(spec);
    int err = make_pair(&successor->keeper_fd, &keeper_fd);
    if (err == 0)
        err = make_pair(&successor->turn_fd, &turn_fd);
    if (err < 0)
        return err;
    if (asprintf(&variable, VAULT_VARIABLE "=" VAULT_FORMAT, first_fd, first_fd + 1, first_fd + 2,
                 0ull, 0, 0ull) < 0)
        return -ENOMEM;
    const struct device_life_vault vault = {
        .fds = {vault_fd, keeper_fd, turn_fd}, .count = 3, .variable = variable};
    return device_life_start(spec, &vault, &successor->life);
}

int successor_start(struct successor *successor, const struct device_life_spec *spec, int vault_fd)
{
    int err = start(successor, spec, vault_fd);
    if (err < 0)
        successor_end(successor);
    return err;
}

int successor_go(struct successor *successor, struct restart *restart)
{
    int err = restart_give_turn(restart, successor->turn_fd, successor->keeper_fd);
    if (err == 0)
        successor->keeper_fd = -1;
    drop(&successor->turn_fd);
    return err;
}

struct device_life successor_take(struct successor *successor)
{
    struct device_life life = successor->life;
    successor->life = DEVICE_LIFE_NONE;
    successor_end(successor);
    return life;
}

void successor_end(struct successor *successor)
{
    device_life_kill(&successor->life);
    drop(&successor->turn_fd);
    drop(&successor->keeper_fd);
}
