// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/hotplug.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "supervisor/device_socket.h"
#include "supervisor/internal.h"
#include "supervisor/notice.h"
#include "supervisor/qemu_device.h"
#include "supervisor/view.h"

#define OPTIONS_MAX 64 /* of a device that is added */

static unsigned number_of(const struct plug *plug)
{
    return (unsigned)(plug - plug->supervisor->plugs);
}

static struct device_process *device_of(const struct plug *plug)
{
    return &plug->supervisor->devices[number_of(plug)];
}

static struct plan_device *plan_of(const struct plug *plug)
{
    return &plug->supervisor->plan->devices[number_of(plug)];
}

/* An answer lets the client's next command in at once, so the plug is as that should find it. */
static struct monitor_call *take_call(struct plug *plug)
{
    struct monitor_call *call = plug->call;
    plug->call = NULL;
    timer_cancel(&plug->patience);
    return call;
}

static void answer(struct plug *plug)
{
    struct monitor_call *call = take_call(plug);
    if (call)
        monitor_answer(call);
}

static void refuse(struct plug *plug, const char *text)
{
    struct monitor_call *call = take_call(plug);
    if (call)
        monitor_refuse(call, MONITOR_GENERIC, "%s", text);
}

/* The device has ended, and nothing of it stays. */
static void free_plug(struct plug *plug)
{
    struct device_process *device = device_of(plug);
    struct plan_device *plan = plan_of(plug);
    auto_close(&plug->vmm_fd);
    plug->vmm_fd = -1;
    if (plan->socket == PLAN_LISTENER)
        unlink(plan->path);
    device_process_done(device);
    view_close(plug);
    *device = (struct device_process){
        .plan = plan, .state = DEVICE_PROCESS_ENDED, .statistics_fd = -1, .trace_fd = -1};
    plan_device_done(plan);
    config_section_done(&plug->section);
    plug->section = (struct config_section){0};
    plug->state = PLUG_FREE;
}

/* Ends a device that was to be added. */
static void give_up(struct plug *plug, const char *why)
{
    plug->state = PLUG_FAILED;
    device_process_stop(device_of(plug));
    if (device_of(plug)->state == DEVICE_PROCESS_ENDED)
        free_plug(plug);
    refuse(plug, why);
}

static void is_in(struct plug *plug)
{
    plug->state = PLUG_IN;
    notice_device(plug->supervisor, "DEVICE_ADDED", device_of(plug));
    answer(plug);
}

static void on_device_add(void *argument, const struct json *result, const char *error)
{
    struct plug *plug = argument;
    char name[LIMIT_DEVICE_ID + 32];
    if (plug->state != PLUG_ATTACHING)
        return;
    if (!error) {
        is_in(plug);
        return;
    }
    snprintf(name, sizeof(name), "{\"fdname\": \"outboard-%s\"}", plan_of(plug)->id);
    if (plan_of(plug)->socket == PLAN_PAIR)
        qmp_execute(plug->supervisor->qmp, "closefd", name, -1, NULL, NULL);
    give_up(plug, error);
}

static void ask_device_add(struct plug *plug)
{
    AUTO_FREE char *arguments = qemu_device_plug_arguments(plan_of(plug), &plug->section);
    if (arguments)
        qmp_execute(plug->supervisor->qmp, "device_add", arguments, -1, on_device_add, plug);
    else
        give_up(plug, "no memory");
}

static void on_getfd(void *argument, const struct json *result, const char *error)
{
    struct plug *plug = argument;
    if (plug->state != PLUG_ATTACHING)
        return;
    auto_close(&plug->vmm_fd);
    plug->vmm_fd = -1;
    if (error)
        give_up(plug, error);
    else
        ask_device_add(plug);
}

/* The device is ready. */
static void attach(struct plug *plug)
{
    char name[LIMIT_DEVICE_ID + 32];
    plug->state = PLUG_ATTACHING;
    if (plug->supervisor->plan->vmm.count == 0) {
        is_in(plug);
    } else if (plug->vmm_fd >= 0) {
        snprintf(name, sizeof(name), "{\"fdname\": \"outboard-%s\"}", plan_of(plug)->id);
        qmp_execute(plug->supervisor->qmp, "getfd", name, plug->vmm_fd, on_getfd, plug);
    } else {
        ask_device_add(plug);
    }
}

/* The text of an option; `room` is for one that is no string. NULL: it has no text. */
static const char *text_of(const struct json *value, char room[32])
{
    switch (value->type) {
    case JSON_STRING:
        return value->text.bytes;
    case JSON_INT:
        snprintf(room, 32, "%" PRId64, value->integer);
        return room;
    case JSON_BOOL:
        return value->boolean ? "on" : "off";
    default:
        return NULL;
    }
}

/* The section that the device would have in a file. 0, -EINVAL with the fault filled, or -ENOMEM. */
static int read_section(const struct monitor_call *call, struct config_section *section,
                        struct ob_fault *fault)
{
    const struct json *options = json_member(monitor_arguments(call), "options");
    const char *program = monitor_text(call, "program");
    unsigned count = 0;
    char room[32];
    if (!program || (options && options->type != JSON_OBJECT))
        return ob_fault_set(fault, -EINVAL,
                            "add: got no program, expected device, program and options");
    section->id = strdup(monitor_text(call, "device"));
    int err = section->id ? config_section_add(section, "program", program) : -ENOMEM;
    for (const struct json *option = options ? options->first : NULL; option && err == 0;
         option = option->next) {
        const char *text = text_of(option, room);
        if (!text || strchr(text, '\n') || ++count > OPTIONS_MAX)
            return ob_fault_set(fault, -EINVAL,
                                "add: options: expected at most %d, each a line of text, an "
                                "integer, true or false",
                                OPTIONS_MAX);
        err = config_section_add(section, option->name.bytes, text);
    }
    return err == -ENOMEM ? ob_fault_set(fault, err, "no memory") : err;
}

/* A place for a device that is added. NULL: there are LIMIT_DEVICES. */
static struct plug *find_place(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++)
        if (supervisor->plugs[i].state == PLUG_FREE)
            return &supervisor->plugs[i];
    return supervisor->started < LIMIT_DEVICES ? &supervisor->plugs[supervisor->started] : NULL;
}

static int start(struct plug *plug, struct ob_fault *fault)
{
    struct supervisor *supervisor = plug->supervisor;
    unsigned number = number_of(plug);
    AUTO_FD fd = -1;
    int err = plan_device_make(supervisor->plan, &plug->section, plan_of(plug), fault);
    err = err ? err : view_open(plug, fault);
    if (err < 0)
        return err;
    err = device_socket_make(plan_of(plug), &fd, &plug->vmm_fd);
    if (err < 0)
        return ob_fault_set(fault, err, "[device \"%s\"]: can't make its socket: %s",
                            plug->section.id, strerror(-err));
    if (number == supervisor->started)
        supervisor->started++;
    return device_process_start(&supervisor->devices[number], plan_of(plug), fd, &supervisor->host,
                                fault);
}

struct device_process *hotplug_find(struct supervisor *supervisor, const char *id)
{
    for (unsigned i = 0; i < supervisor->started; i++)
        if (supervisor->plugs[i].state != PLUG_FREE &&
            strcmp(supervisor->plan->devices[i].id, id) == 0)
            return &supervisor->devices[i];
    return NULL;
}

/* Whether devices can come and go now. If not, the call is refused. */
static bool is_possible(const struct supervisor *supervisor, struct monitor_call *call)
{
    const char *id = monitor_text(call, "device");
    const char *why = NULL;
    if (!id || !config_is_id(id, strlen(id)))
        why = "got no device, expected a name of letters, digits, '-', '_' and '.'";
    else if (!supervisor->running || supervisor->ending)
        why = "the machine is starting or ending; try again later";
    else if (supervisor->plan->vmm.count > 0 && !qmp_is_ready(supervisor->qmp))
        why = "the VMM has no QMP, or does not answer";
    if (why)
        monitor_refuse(call, MONITOR_GENERIC, "%s", why);
    return !why;
}

void hotplug_add(struct supervisor *supervisor, struct monitor_call *call)
{
    struct ob_fault fault = {0};
    if (!is_possible(supervisor, call))
        return;
    struct plug *plug = find_place(supervisor);
    if (hotplug_find(supervisor, monitor_text(call, "device")) || !plug) {
        monitor_refuse(call, MONITOR_GENERIC, "got device %s, which is there, or one more than %u",
                       monitor_text(call, "device"), LIMIT_DEVICES);
        return;
    }
    *plug = (struct plug){.supervisor = supervisor, .state = PLUG_STARTING, .vmm_fd = -1};
    int err = read_section(call, &plug->section, &fault);
    if (err == 0)
        err = start(plug, &fault);
    if (err == 0) {
        plug->call = call;
        return;
    }
    free_plug(plug);
    monitor_refuse(call, MONITOR_GENERIC, "%s", fault.text);
}

static void on_unplug_late(void *argument)
{
    refuse(argument, "the guest has not let go of the device within 30 s; the removal continues");
}

/* QEMU has let go of the device: it ends by itself if it was on a pair. */
static void leave(struct plug *plug)
{
    struct device_process *device = device_of(plug);
    plug->state = PLUG_LEAVING;
    if (device->state == DEVICE_PROCESS_ENDED)
        hotplug_on_change(plug->supervisor);
    else if (plan_of(plug)->socket == PLAN_PAIR)
        device_process_expect_end(device);
    else
        device_process_stop(device);
}

static void on_device_del(void *argument, const struct json *result, const char *error)
{
    struct plug *plug = argument;
    if (!error || plug->state != PLUG_DETACHING)
        return;
    plug->state = PLUG_IN;
    refuse(plug, error);
}

void hotplug_remove(struct supervisor *supervisor, struct monitor_call *call)
{
    char arguments[LIMIT_DEVICE_ID + 32];
    if (!is_possible(supervisor, call))
        return;
    struct device_process *device = hotplug_find(supervisor, monitor_text(call, "device"));
    struct plug *plug = device ? &supervisor->plugs[device - supervisor->devices] : NULL;
    if (!plug || (plug->state != PLUG_IN && plug->state != PLUG_DETACHING) || plug->call) {
        monitor_refuse(call, MONITOR_GENERIC, "got device %s, expected one of list that is in use",
                       monitor_text(call, "device"));
        return;
    }
    plug->call = call;
    plug->state = PLUG_DETACHING;
    if (supervisor->plan->vmm.count == 0) {
        leave(plug);
        return;
    }
    timer_init(&plug->patience, on_unplug_late, plug);
    timer_set(&supervisor->timers, &plug->patience, clock_now_ns() + LIMIT_UNPLUG_MS * 1000000ull);
    snprintf(arguments, sizeof(arguments), "{\"id\": \"%s\"}", plan_of(plug)->id);
    qmp_execute(supervisor->qmp, "device_del", arguments, -1, on_device_del, plug);
}

void hotplug_on_qmp(struct supervisor *supervisor, const char *event, const struct json *data)
{
    const struct json *id = data ? json_member(data, "device") : NULL;
    bool deleted = strcmp(event, "DEVICE_DELETED") == 0;
    bool refused = strcmp(event, "DEVICE_UNPLUG_GUEST_ERROR") == 0;
    if ((!deleted && !refused) || !id || id->type != JSON_STRING)
        return;
    struct device_process *device = hotplug_find(supervisor, id->text.bytes);
    struct plug *plug = device ? &supervisor->plugs[device - supervisor->devices] : NULL;
    if (!plug)
        return;
    if (deleted && (plug->state == PLUG_IN || plug->state == PLUG_DETACHING)) {
        leave(plug); /* the guest, or another client of QEMU, may have removed it */
    } else if (refused && plug->state == PLUG_DETACHING) {
        plug->state = PLUG_IN;
        refuse(plug, "the guest refuses to let go of the device");
    }
}

static void on_change(struct plug *plug)
{
    const struct device_process *device = device_of(plug);
    bool ended = device->state == DEVICE_PROCESS_ENDED;
    switch (plug->state) {
    case PLUG_STARTING:
        if (ended)
            give_up(plug, "the device ended before it was ready; the log of outboard run says why");
        else if (device->state == DEVICE_PROCESS_READY)
            attach(plug);
        break;
    case PLUG_FAILED:
        if (ended)
            free_plug(plug);
        break;
    case PLUG_LEAVING:
        if (!ended)
            break;
        notice_device(plug->supervisor, "DEVICE_REMOVED", device);
        free_plug(plug);
        answer(plug);
        break;
    default:
        break;
    }
}

void hotplug_on_change(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++)
        on_change(&supervisor->plugs[i]);
}

bool hotplug_expects_end(const struct plug *plug)
{
    return plug->state != PLUG_IN && plug->state != PLUG_DETACHING;
}

void hotplug_done(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++) {
        struct plug *plug = &supervisor->plugs[i];
        refuse(plug, "the machine ends");
        auto_close(&plug->vmm_fd);
        config_section_done(&plug->section);
        plug->section = (struct config_section){0};
    }
}
