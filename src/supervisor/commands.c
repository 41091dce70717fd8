// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "supervisor/counts.h"
#include "supervisor/health.h"
#include "supervisor/internal.h"
#include "supervisor/program_path.h"
#include "supervisor/view.h"

#define NS_PER_MS 1000000u

static const char *state_name(const struct device_process *device)
{
    switch (device->state) {
    case DEVICE_PROCESS_STARTING:
        return "starting";
    case DEVICE_PROCESS_READY:
        return device->hung ? "hung" : "ready";
    default:
        return device->why_given_up[0] ? "failed" : "ended";
    }
}

static void put_end(struct json_out *out, int status)
{
    if (WIFSIGNALED(status))
        json_out_member_int(out, "signal", WTERMSIG(status));
    else
        json_out_member_int(out, "exit-status", WEXITSTATUS(status));
}

static void put_device(struct json_out *out, const struct device_process *device)
{
    json_out_begin(out, '{');
    json_out_member_string(out, "device", device->plan->id);
    json_out_member_string(out, "program",
                           device->next.program ? device->next.program
                                                : device->plan->command.word[0]);
    json_out_member_string(out, "state", state_name(device));
    json_out_member_bool(out, "client", device->has_client && device->child);
    json_out_member_string(out, "on-hang", plan_on_hang_name(device->on_hang));
    json_out_member_string(out, "on-death", device->restarts ? "restart" : "fail");
    json_out_member_uint(out, "watchdog-ms", device->plan->watchdog_ms);
    if (device->plan->path)
        json_out_member_string(out, "path", device->plan->path);
    if (device_process_spare(device))
        json_out_member_int(out, "spare-pid", device_process_spare(device));
    if (device->child)
        json_out_member_int(out, "pid", child_pid(device->child));
    else
        put_end(out, device->status);
    if (device->status_text[0])
        json_out_member_string(out, "status", device->status_text);
    if (upgrade_stage_name(&device->next.upgrading.upgrade))
        json_out_member_string(out, "upgrade", upgrade_stage_name(&device->next.upgrading.upgrade));
    if (device->traces)
        json_out_member_bool(out, "trace", true);
    if (device->restart.poisons > 0)
        json_out_member_uint(out, "poison-messages", device->restart.poisons);
    if (device->why_given_up[0])
        json_out_member_string(out, "reason", device->why_given_up);
    json_out_end(out, '}');
}

/* Calls `put` for each device, or for the one that is named. */
static void for_devices(struct supervisor *supervisor, struct monitor_call *call,
                        void (*put)(struct json_out *out, const struct device_process *device))
{
    const char *id = monitor_text(call, "device");
    struct json_out *out = monitor_out(call);
    if (id && !hotplug_find(supervisor, id)) {
        monitor_refuse(call, "DeviceNotFound", "got device '%.80s', expected one of list", id);
        return;
    }
    json_out_begin(out, '[');
    for (unsigned i = 0; i < supervisor->started; i++)
        if (supervisor->plugs[i].state != PLUG_FREE &&
            (!id || strcmp(supervisor->plan->devices[i].id, id) == 0))
            put(out, &supervisor->devices[i]);
    json_out_end(out, ']');
    monitor_answer(call);
}

static void list(struct supervisor *supervisor, struct monitor_call *call)
{
    for_devices(supervisor, call, put_device);
}

static void put_counts(struct json_out *out, const struct device_process *device)
{
    json_out_begin(out, '{');
    json_out_member_string(out, "device", device->plan->id);
    json_out_member_string(out, "state", state_name(device));
    json_out_member_uint(out, "restarts", device->gaps.count);
    json_out_member_uint(out, "restart-ns", device->gaps.total_ns);
    json_out_member_uint(out, "longest-restart-ns", device->gaps.longest_ns);
    counts_put(device, out);
    json_out_end(out, '}');
}

static void stats(struct supervisor *supervisor, struct monitor_call *call)
{
    for_devices(supervisor, call, put_counts);
}

static const char *machine_state(const struct supervisor *supervisor)
{
    if (supervisor->ending)
        return "ending";
    if (!supervisor->running)
        return "starting";
    if (!supervisor->vmm)
        return "no-vmm";
    if (!qmp_is_ready(supervisor->qmp))
        return "unknown";
    return supervisor->health.runs ? "running" : "paused";
}

/* Devices in use whose process has ended, or has failed to go on. */
static unsigned count_lost(const struct supervisor *supervisor)
{
    unsigned count = 0;
    for (unsigned i = 0; i < supervisor->started; i++)
        count += supervisor->plugs[i].state == PLUG_IN &&
                 supervisor->devices[i].state == DEVICE_PROCESS_ENDED;
    return count;
}

/* Members of the status that a client of one device does not get. */
static void put_whole(const struct supervisor *supervisor, struct json_out *out)
{
    if (supervisor->vmm)
        json_out_member_int(out, "vmm-pid", child_pid(supervisor->vmm));
    json_out_member_uint(out, "lost-devices", count_lost(supervisor));
    json_out_member_bool(out, "devices-rest", supervisor->saving.rests);
}

static void status(struct supervisor *supervisor, struct monitor_call *call)
{
    const struct health *health = &supervisor->health;
    struct json_out *out = monitor_out(call);
    json_out_begin(out, '{');
    json_out_member_string(out, "machine", supervisor->plan->machine);
    json_out_member_string(out, "state", machine_state(supervisor));
    json_out_member_int(out, "pid", getpid());
    if (!monitor_device(call))
        put_whole(supervisor, out);
    json_out_member_uint(out, "uptime-ms", (clock_now_ns() - supervisor->start_ns) / NS_PER_MS);
    json_out_member_uint(out, "pauses", health->pauses);
    json_out_member_uint(out, "paused-ms", health->total_ns / NS_PER_MS);
    json_out_member_uint(out, "longest-pause-ms", health->longest_ns / NS_PER_MS);
    json_out_end(out, '}');
    monitor_answer(call);
}

static void policy(struct supervisor *supervisor, struct monitor_call *call)
{
    const char *id = monitor_text(call, "device"), *text = monitor_text(call, "on-hang");
    struct device_process *device = id ? hotplug_find(supervisor, id) : NULL;
    enum plan_on_hang on_hang;
    if (!device) {
        monitor_refuse(call, "DeviceNotFound", "got device '%.80s', expected one of list",
                       id ? id : "");
    } else if (!text || plan_parse_on_hang(text, &on_hang) < 0) {
        monitor_refuse(call, MONITOR_GENERIC,
                       "on-hang: got '%.40s', expected fail, kill, pause or restart",
                       text ? text : "");
    } else if (on_hang == PLAN_PAUSE && !supervisor->plan->qmp) {
        monitor_refuse(call, MONITOR_GENERIC,
                       "on-hang: got pause, expected fail or kill: the VMM is not QEMU");
    } else if (on_hang == PLAN_RESTART && !device->restarts) {
        monitor_refuse(call, MONITOR_GENERIC,
                       "on-hang: got restart, expected fail, kill or pause: the device can't be "
                       "restarted (on-death)");
    } else {
        device->on_hang = on_hang;
        monitor_answer(call);
    }
}

static void on_asked(void *argument, const struct json *result, const char *error)
{
    if (error)
        monitor_refuse(argument, MONITOR_GENERIC, "%s", error);
    else
        monitor_answer(argument);
}

static void pause_machine(struct supervisor *supervisor, struct monitor_call *call)
{
    health_give_up(supervisor);
    qmp_execute(supervisor->qmp, "stop", NULL, -1, on_asked, call);
}

static void resume_machine(struct supervisor *supervisor, struct monitor_call *call)
{
    health_give_up(supervisor);
    if (!supervisor->plan->qmp && supervisor->saving.rests) {
        saving_resume(supervisor);
        monitor_answer(call);
        return;
    }
    qmp_execute(supervisor->qmp, "cont", NULL, -1, on_asked, call);
}

/* The device that a call names, with a process; NULL: the call was refused. */
static struct device_process *find_running(struct supervisor *supervisor, struct monitor_call *call)
{
    const char *id = monitor_text(call, "device");
    struct device_process *device = id ? hotplug_find(supervisor, id) : NULL;
    if (!device)
        monitor_refuse(call, "DeviceNotFound", "got device '%.80s', expected one of list",
                       id ? id : "");
    else if (device->plan->is_channel)
        monitor_refuse(call, MONITOR_GENERIC, "got channel %s, expected a device", id);
    else if (device->state != DEVICE_PROCESS_READY)
        monitor_refuse(call, MONITOR_GENERIC, "device %s: got state %s, expected ready", id,
                       state_name(device));
    else
        return device;
    return NULL;
}

static void on_ordered(void *argument, int err, uint64_t len, const char *why)
{
    if (err < 0)
        monitor_refuse(argument, MONITOR_GENERIC, "%s", why);
    else
        monitor_answer(argument);
}

static void refuse_order(struct monitor_call *call, int err)
{
    if (err < 0)
        monitor_refuse(call, MONITOR_GENERIC, "can't ask the device process: %s", strerror(-err));
}

static void reset(struct supervisor *supervisor, struct monitor_call *call)
{
    struct device_process *device = find_running(supervisor, call);
    const struct order order = {.code = ORDER_RESET};
    if (device)
        refuse_order(call, order_sender_send(&device->orders, &order, -1, on_ordered, call));
}

/* A regular file alone: the device makes no other call for it than write(2). */
static int open_trace(const struct monitor_call *call)
{
    const char *path = monitor_text(call, "file");
    struct stat stat;
    AUTO_FD fd =
        path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600)
             : -1;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return path ? -errno : -ENOENT;
    if (!S_ISREG(stat.st_mode))
        return -EINVAL;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    return high < 0 ? -errno : high;
}

static void trace(struct supervisor *supervisor, struct monitor_call *call)
{
    const char *state = monitor_text(call, "state");
    bool on = state && strcmp(state, "on") == 0;
    if (!on && (!state || strcmp(state, "off") != 0)) {
        monitor_refuse(call, MONITOR_GENERIC, "state: got '%.40s', expected on or off",
                       state ? state : "");
        return;
    }
    struct device_process *device = find_running(supervisor, call);
    if (!device)
        return;
    int fd = on ? open_trace(call) : -1;
    if (!on || fd >= 0 || !monitor_text(call, "file"))
        refuse_order(call, device_process_trace(device, on, fd, on_ordered, call));
    else
        monitor_refuse(call, MONITOR_GENERIC, "file: can't append to %.120s: %s",
                       monitor_text(call, "file"), strerror(-fd));
}

static void on_upgraded(void *argument, bool drained, const char *error)
{
    struct json_out *out = monitor_out(argument);
    if (error) {
        monitor_refuse(argument, MONITOR_GENERIC, "%s", error);
        return;
    }
    json_out_begin(out, '{');
    json_out_member_bool(out, "drained", drained);
    json_out_end(out, '}');
    monitor_answer(argument);
}

static void upgrade(struct supervisor *supervisor, struct monitor_call *call)
{
    const char *id = monitor_text(call, "device"), *program = monitor_text(call, "program");
    struct device_process *device = id ? hotplug_find(supervisor, id) : NULL;
    struct ob_fault fault = {0};
    char path[PATH_MAX];
    if (!device)
        monitor_refuse(call, "DeviceNotFound", "got device '%.80s', expected one of list",
                       id ? id : "");
    else if (program && program_path_find(program, path, sizeof(path)) < 0)
        monitor_refuse(call, MONITOR_GENERIC, "program: got '%.80s', which is not there", program);
    else if (device_process_upgrade(device, program ? path : NULL, on_upgraded, call, &fault) < 0)
        monitor_refuse(call, MONITOR_GENERIC, "%s", fault.text);
}

static void capabilities(struct supervisor *supervisor, struct monitor_call *call)
{
    const struct json *arguments = monitor_arguments(call);
    const struct json *enable = arguments ? json_member(arguments, "enable") : NULL;
    bool events = false;
    for (const struct json *one = enable && enable->type == JSON_ARRAY ? enable->first : NULL; one;
         one = one->next) {
        if (!json_is_text(one, "events")) {
            monitor_refuse(call, MONITOR_GENERIC, "enable: expected capabilities of the greeting");
            return;
        }
        events = true;
    }
    monitor_want_events(call, events);
    monitor_answer(call);
}

/* As SIGTERM does it. */
static void quit(struct supervisor *supervisor, struct monitor_call *call)
{
    monitor_answer(call);
    kill(getpid(), SIGTERM);
}

static void commands(struct supervisor *supervisor, struct monitor_call *call);

static const struct {
    const char *name;
    void (*run)(struct supervisor *supervisor, struct monitor_call *call);
    bool of_device; /* clients of a view have it too */
} table[] = {
    {"add", hotplug_add, .of_device = false},
    {"capabilities", capabilities, .of_device = true},
    {"commands", commands, .of_device = true},
    {"list", list, .of_device = true},
    {"pause", pause_machine, .of_device = false},
    {"policy", policy, .of_device = true},
    {"quit", quit, .of_device = false},
    {"read-state", saving_read, .of_device = false},
    {"remove", hotplug_remove, .of_device = false},
    {"reset", reset, .of_device = true},
    {"restore", saving_restore, .of_device = false},
    {"resume", resume_machine, .of_device = false},
    {"save", saving_save, .of_device = false},
    {"stats", stats, .of_device = true},
    {"status", status, .of_device = true},
    {"trace", trace, .of_device = true},
    {"upgrade", upgrade, .of_device = true},
    {"write-state", saving_write, .of_device = false},
};

static void commands(struct supervisor *supervisor, struct monitor_call *call)
{
    struct json_out *out = monitor_out(call);
    json_out_begin(out, '[');
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].of_device || !monitor_device(call))
            json_out_string(out, table[i].name);
    json_out_end(out, ']');
    monitor_answer(call);
}

/* Whether a call by a device's own socket is about something else. If so, it is refused. */
static bool is_foreign(struct monitor_call *call)
{
    const struct json *arguments = monitor_arguments(call);
    const struct json *named = arguments ? json_member(arguments, "device") : NULL;
    const char *device = monitor_device(call);
    const char *why = device ? view_refusal(call) : NULL;
    if (device && named && !json_is_text(named, device))
        monitor_refuse(call, "DeviceNotFound", "got another device, expected %s", device);
    else if (why)
        monitor_refuse(call, MONITOR_GENERIC, "%s", why);
    else
        return false;
    return true;
}

void commands_call(void *argument, struct monitor_call *call)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, monitor_command(call)) == 0 &&
            (table[i].of_device || !monitor_device(call))) {
            if (!is_foreign(call))
                table[i].run(argument, call);
            return;
        }
    monitor_refuse(call, "CommandNotFound", "got command '%.80s', expected one of commands",
                   monitor_command(call));
}
