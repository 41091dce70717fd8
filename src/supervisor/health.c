// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/health.h"

#include <string.h>

#include "os/clock.h"
#include "os/log.h"
#include "supervisor/notice.h"

static void on_status(void *argument, const struct json *result, const char *error)
{
    struct supervisor *supervisor = argument;
    const struct json *running =
        result && result->type == JSON_OBJECT ? json_member(result, "running") : NULL;
    if (running && running->type == JSON_BOOL)
        supervisor->health.runs = running->boolean;
}

void health_start(struct supervisor *supervisor)
{
    qmp_execute(supervisor->qmp, "query-status", NULL, -1, on_status, supervisor);
}

static void stops(struct health *health)
{
    if (health->runs)
        health->since_ns = clock_now_ns();
    health->runs = false;
}

static void resumes(struct health *health)
{
    uint64_t ns = clock_now_ns() - health->since_ns;
    if (!health->runs && health->paused) {
        health->pauses++;
        health->total_ns += ns;
        health->longest_ns = ns > health->longest_ns ? ns : health->longest_ns;
    }
    health->runs = true;
    health->paused = false;
}

void health_on_qmp(struct supervisor *supervisor, const char *event)
{
    if (strcmp(event, "STOP") == 0) {
        stops(&supervisor->health);
        notice_machine(supervisor, "VM_PAUSED");
    } else if (strcmp(event, "RESUME") == 0) {
        resumes(&supervisor->health);
        saving_resume(supervisor);
        notice_machine(supervisor, "VM_RESUMED");
    }
}

static bool hangs(const struct device_process *device)
{
    return device->hung && device->on_hang == PLAN_PAUSE;
}

static void on_pause(void *argument, const struct json *result, const char *error)
{
    if (error)
        log_line("can't pause the VM: %s", error);
}

static void on_resume(void *argument, const struct json *result, const char *error)
{
    if (error)
        log_line("can't resume the VM: %s", error);
}

void health_on_device(struct supervisor *supervisor)
{
    struct health *health = &supervisor->health;
    unsigned count = 0;
    for (unsigned i = 0; i < supervisor->started; i++)
        count += hangs(&supervisor->devices[i]);
    if (count > 0 && !health->paused && health->runs) {
        health->paused = true;
        qmp_execute(supervisor->qmp, "stop", NULL, -1, on_pause, supervisor);
    } else if (count == 0 && health->paused) {
        qmp_execute(supervisor->qmp, "cont", NULL, -1, on_resume, supervisor);
    }
}

void health_give_up(struct supervisor *supervisor)
{
    supervisor->health.paused = false;
}
