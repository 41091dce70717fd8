// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/device_end.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "os/log.h"

bool device_end_is_refusal(const struct device_process *device, int status)
{
    return device->state == DEVICE_PROCESS_STARTING && device->restart.newest > 1 &&
           WIFEXITED(status) && WEXITSTATUS(status) != 0 && !child_exec_error(status);
}

bool device_end_may_restart(const struct device_process *device, int status)
{
    if (!device->restarts || device->stopping || device->expects_end)
        return false;
    if (device->hung && device->on_hang != PLAN_PAUSE && device->on_hang != PLAN_RESTART)
        return false;
    return WIFSIGNALED(status) || device_end_is_refusal(device, status);
}

void device_end_give_up(struct device_process *device, const char *reason)
{
    log_line("%s: can't be restarted: %s", device->plan->id, reason);
    restart_end(&device->restart);
    device->restarts = false;
    device->failed = true;
    snprintf(device->why_given_up, sizeof(device->why_given_up), "%s", reason);
}

void device_end_log_late(const struct device_process *device)
{
    const char *id = device->plan->id;
    if (device->stopping)
        log_line("%s: has not ended within %u s of SIGTERM; sends SIGKILL", id,
                 LIMIT_STOP_MS / 1000);
    else if (device->failed)
        log_line("%s: is not ready after %u s; ends it", id, LIMIT_START_MS / 1000);
    else
        log_line("%s: has not ended within %u s of its VMM; sends SIGTERM", id,
                 LIMIT_STOP_MS / 1000);
}

void device_end_log_restart(const struct device_process *device, int status)
{
    if (WIFSIGNALED(status))
        log_line("%s: was ended by signal %d (%s); restarts it", device->plan->id, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        log_line("%s: the next process has refused to continue (status %d); tries another one",
                 device->plan->id, WEXITSTATUS(status));
}

void device_end_log(const struct device_process *device, int status)
{
    if (child_exec_error(status))
        log_line("%s: can't start %s: %s", device->plan->id, device->plan->command.word[0],
                 strerror(child_exec_error(status)));
    else if (WIFSIGNALED(status))
        log_line("%s: was ended by signal %d (%s)", device->plan->id, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0 || device->state == DEVICE_PROCESS_STARTING)
        log_line("%s: ended with status %d%s", device->plan->id, WEXITSTATUS(status),
                 device->state == DEVICE_PROCESS_STARTING ? " before it was ready" : "");
}
