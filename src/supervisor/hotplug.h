// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hot-plug: devices that come and go while the VMM runs.
 *
 * Add: the device is planned as one of the file, and started. When it is ready, QEMU gets its end of
 * the socket (getfd) and the front end (device_add), and the client its answer. If any of that
 * fails, the device ends, and the client is told why.
 *
 * Remove: QEMU is asked (device_del); the guest lets go when it likes; then QEMU tells
 * (DEVICE_DELETED), the device ends, and the client gets its answer. A client waits LIMIT_UNPLUG_MS
 * at most. The removal continues without it.
 *
 * A plug is the place of a device among supervisor.devices. That of a device that was removed is
 * free, and is used again.
 */
#ifndef OUTBOARD_SUPERVISOR_HOTPLUG_H
#define OUTBOARD_SUPERVISOR_HOTPLUG_H

#include <stdbool.h>

#include "os/timer.h"
#include "supervisor/config.h"
#include "wire/json.h"

struct monitor;
struct monitor_call;
struct supervisor;

enum plug_state {
    PLUG_IN,        /* the device is there */
    PLUG_STARTING,  /* is to be added, and is not ready yet */
    PLUG_ATTACHING, /* is ready, and QEMU was asked to take it */
    PLUG_FAILED,    /* was to be added, and is to end */
    PLUG_DETACHING, /* QEMU was asked to let it go */
    PLUG_LEAVING,   /* QEMU has let it go, and it is to end */
    PLUG_FREE,
};

struct plug {
    struct supervisor *supervisor;
    enum plug_state state;
    struct monitor_call *call; /* NULL: nobody waits */
    int vmm_fd;                /* the VMM's end of an added device, until QEMU has it; -1: none */
    struct timer patience;
    struct config_section section; /* of an added device */
    struct monitor *monitor;       /* the device's own socket; NULL: none */
};

/* The commands add and remove. */
void hotplug_add(struct supervisor *supervisor, struct monitor_call *call);
void hotplug_remove(struct supervisor *supervisor, struct monitor_call *call);

/* An event of QMP. */
void hotplug_on_qmp(struct supervisor *supervisor, const char *event, const struct json *data);
/* A device has become ready, or has ended. */
void hotplug_on_change(struct supervisor *supervisor);
/* Whether a device that ends is no failure of the machine. */
bool hotplug_expects_end(const struct plug *plug);
/* The device with this name; NULL: no device has it. */
struct device_process *hotplug_find(struct supervisor *supervisor, const char *id);
/* Refuses the calls that wait, and frees the sections of added devices. */
void hotplug_done(struct supervisor *supervisor);

#endif
