// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/device_life.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/statistics.h"
#include "supervisor/control_group.h"

int device_life_make_statistics(int *ret_fd)
{
    AUTO_FD fd = memfd_create("outboard-statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, STATISTICS_LEN) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    return *ret_fd < 0 ? -errno : 0;
}

/* Its first strings are the supervisor's. */
static void free_environment(const struct device_life_spec *spec, char **environment)
{
    char *const *ours = spec->environment;
    for (char **added = environment; *added; added++) {
        if (*ours)
            ours++;
        else
            free(*added);
    }
    free(environment);
}

static int statistics_number(const struct device_life_spec *spec)
{
    return PLAN_FIRST_FD + (spec->socket_fd >= 0);
}

int device_life_first_fd(const struct device_life_spec *spec)
{
    return statistics_number(spec) + 2;
}

/* The supervisor's environment, with the device's own ready socket and watchdog. */
static int set_environment(const struct device_life_spec *spec, const struct ready_socket *ready,
                           const char *vault, char ***ret_environment)
{
    char *const *ours = spec->environment;
    unsigned count = 0;
    while (ours[count])
        count++;
    char **environment = calloc(count + 6, sizeof(*environment));
    if (!environment)
        return -ENOMEM;
    memcpy(environment, ours, count * sizeof(*environment));
    int len = asprintf(&environment[count], "NOTIFY_SOCKET=%s", ready_socket_name(ready));
    if (len >= 0)
        len = asprintf(&environment[count + 1], STATISTICS_VARIABLE "=%d", statistics_number(spec));
    if (len >= 0)
        len = asprintf(&environment[count + 2], ORDERS_VARIABLE "=%d", statistics_number(spec) + 1);
    if (len >= 0 && vault)
        len = (environment[count + 3] = strdup(vault)) ? 0 : -1;
    if (len >= 0 && spec->plan->watchdog_ms > 0)
        len = asprintf(&environment[count + 3 + (vault != NULL)], "WATCHDOG_USEC=%u000",
                       spec->plan->watchdog_ms);
    if (len < 0) {
        free_environment(spec, environment);
        return -ENOMEM;
    }
    *ret_environment = environment;
    return 0;
}

/* The plan's command, with another program if there is one; to be freed, its words not. */
static char **make_command(const struct device_life_spec *spec)
{
    const struct words *command = &spec->plan->command;
    char **argv = calloc(command->count + 1, sizeof(*argv));
    if (!argv)
        return NULL;
    memcpy(argv, command->word, command->count * sizeof(*argv));
    if (spec->program)
        argv[0] = (char *)spec->program;
    return argv;
}

static int spawn(const struct device_life_spec *spec, const struct device_life_vault *vault,
                 int log_fd, struct device_life *life)
{
    AUTO_FREE char **argv = make_command(spec);
    char **environment = NULL;
    AUTO_FD orders_fd = -1;
    int passed[3 + RESTART_FDS] = {spec->socket_fd};
    unsigned count = spec->socket_fd >= 0;
    int err = order_sender_pair(SPARE_FD, &life->orders_fd, &orders_fd);
    passed[count++] = spec->statistics_fd;
    passed[count++] = orders_fd;
    for (unsigned i = 0; i < vault->count; i++)
        passed[count++] = vault->fds[i];
    if (err == 0)
        err = argv ? set_environment(spec, life->ready, vault->variable, &environment) : -ENOMEM;
    if (err < 0)
        return err;
    AUTO_FD group_fd = -1;
    err = control_group_open(spec->plan->section, &group_fd);
    if (err < 0) {
        free_environment(spec, environment);
        return err;
    }
    const struct child_spec child = {
        .argv = argv,
        .environment = environment,
        .fd = {-1, log_fd, log_fd},
        .passed = passed,
        .passed_count = count,
        .group_fd = group_fd,
    };
    err = child_spawn(spec->children, &child, &life->child);
    free_environment(spec, environment);
    return err;
}

int device_life_start(const struct device_life_spec *spec, const struct device_life_vault *vault,
                      struct device_life *ret_life)
{
    AUTO_FD log_fd = -1;
    *ret_life = DEVICE_LIFE_NONE;
    int err = child_log_new(spec->loop, spec->timers, spec->plan->id, &ret_life->log, &log_fd);
    if (err == 0)
        err = ready_socket_new(spec->loop, spec->timers, spec->told, spec->argument,
                               &ret_life->ready);
    if (err == 0)
        err = spawn(spec, vault, log_fd, ret_life);
    if (err < 0)
        return err;
    child_watch(ret_life->child, spec->ended, spec->argument);
    return ready_socket_trust(ret_life->ready, child_pid(ret_life->child));
}

void device_life_watch(struct device_life *life, ready_fn told, child_exit_fn ended, void *argument)
{
    ready_socket_watch(life->ready, told, argument);
    if (life->child)
        child_watch(life->child, ended, argument);
}

void device_life_kill(struct device_life *life)
{
    if (life->child)
        child_signal(life->child, SIGKILL);
    device_life_done(life);
}

void device_life_done(struct device_life *life)
{
    child_forget(life->child);
    child_log_free(life->log);
    ready_socket_free(life->ready);
    auto_close(&life->orders_fd);
    *life = DEVICE_LIFE_NONE;
}
