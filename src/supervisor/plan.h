// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plan: the command line of each device program and of the VMM, and how each device reaches the VMM.
 * Made from a configuration before any process is started, and pure: the VMM's abilities are an input
 * (vmm_probe.h).
 *
 * A device has one end of a socket pair as descriptor 3 if its VMM takes descriptors; the VMM has the
 * other ends as 3, 4, ..., in the order of the devices. If its VMM takes paths, descriptor 3 is a
 * socket that listens in a folder of the supervisor's. A device that is given a socket-path makes its
 * own socket.
 *
 * A channel is a proxy that has the end of a pair, too; QEMU has a serial port of the guest at the
 * other. A device with wire = "vhost-user" listens, and QEMU has a chardev for it.
 *
 * The VMM's arguments may say where a device goes: %device:NAME% is the value of QEMU's -device,
 * %fd:NAME% the descriptor's number, %socket:NAME% the path. QEMU gets a -device for each device
 * that no argument names.
 */
#ifndef OUTBOARD_SUPERVISOR_PLAN_H
#define OUTBOARD_SUPERVISOR_PLAN_H

#include <stdbool.h>

#include "base/limits.h"
#include "supervisor/config.h"
#include "supervisor/socket_access.h"
#include "supervisor/words.h"

#define PLAN_FIRST_FD 3

struct vmm_ability {
    bool qemu; /* takes QEMU's options */
    bool vfio_user, mpqemu;
};

enum plan_socket {
    PLAN_PAIR,
    PLAN_LISTENER, /* the supervisor makes and removes it */
    PLAN_PATH,     /* the device makes and removes it */
};

/* The effect when a device hangs. */
enum plan_on_hang {
    PLAN_FAIL,    /* the device is killed; the VMM keeps a device that does not answer */
    PLAN_KILL,    /* the device is killed, and the VMM too */
    PLAN_PAUSE,   /* the VM is paused by QMP until the device gives signs of life again */
    PLAN_RESTART, /* the device's process is killed, and another one continues */
};

/* The effect when a device's process is killed or crashes. */
enum plan_on_death {
    PLAN_DEATH_FAIL,    /* the device has failed, the VMM keeps it */
    PLAN_DEATH_RESTART, /* another process continues, if the program can (outboard/vault.h) */
};

struct plan_device {
    const char *id;  /* the configuration's */
    bool is_channel; /* a proxy with a port of the guest */
    bool vhost_user; /* instead of the VMM's wire */
    enum plan_socket socket;
    char *path;           /* where it listens; NULL: PLAN_PAIR */
    int fd;               /* of PLAN_PAIR: the VMM's descriptor of the other end */
    unsigned watchdog_ms; /* 0: none */
    enum plan_on_hang on_hang;
    enum plan_on_death on_death;
    unsigned restart_limit;               /* restarts within a minute */
    bool spare;                           /* a process waits for the death of the one that serves */
    const struct config_section *section; /* the configuration's */
    char *monitor;                        /* path of its own monitor socket; NULL: none */
    struct socket_access monitor_access;
    struct words command;
};

struct plan {
    const struct config *config;
    struct vmm_ability ability; /* with the wire of [machine] chosen */
    char *folder;
    char *machine; /* the VM's name */
    char *control; /* path of the control socket */
    struct socket_access control_access;
    char *qmp; /* path of the VMM's QMP; NULL: the VMM is not QEMU */
    struct plan_device devices[LIMIT_DEVICES];
    unsigned device_count;
    bool ends_with_supervisor; /* if that is killed */
    struct words vmm;          /* empty: no VMM is started */
};

/* The VMM's program; NULL: there is no [machine]. */
const char *plan_vmm(const struct config *config);

/* `folder`: where listeners will be. 0; -EINVAL with line, key and expectation; -ENOENT: there
 * is no such program; -ENOMEM. The configuration outlives the plan. */
int plan_make(const struct config *config, const struct vmm_ability *ability, const char *folder,
              struct plan **ret_plan, struct ob_fault *fault);
/* NULL is fine. */
void plan_free(struct plan *plan);

/* The names of policies, as in on-hang. -EINVAL: there is no such policy. */
int plan_parse_on_hang(const char *text, enum plan_on_hang *ret_on_hang);
const char *plan_on_hang_name(enum plan_on_hang on_hang);

/* The settings on-hang, spare and cgroup of a device, behind its others. 0, or -EINVAL with the fault filled. */
int plan_take_policies(const char *path, const struct config_section *section, bool qemu,
                       struct plan_device *device, struct ob_fault *fault);
/* Whether it is one of the settings monitor, monitor-mode and monitor-owner. */
bool plan_is_monitor_key(const char *key);
/* The settings monitor, monitor-mode and monitor-owner of a device or channel. 0, or a negative errno with
 * the fault filled. */
int plan_take_monitor(const char *path, const struct config_section *section,
                      struct plan_device *device, struct ob_fault *fault);
/* The setting on-supervisor-death. 0, or -EINVAL with the fault filled. */
int plan_take_supervisor_death(const struct config *config, bool *ret_ends, struct ob_fault *fault);

/* Plans a device that is added while the VMM runs; it has no number of a descriptor there. The
 * section outlives it. Errors as of plan_make(). */
int plan_device_make(const struct plan *plan, const struct config_section *section,
                     struct plan_device *ret_device, struct ob_fault *fault);
void plan_device_done(struct plan_device *device);

/* QEMU's arguments for the devices alone, and the memory too if asked for, for other
 * starters of QEMU. All devices listen. Errors as of plan_make(). */
int plan_qemu_arguments(const struct config *config, bool memory, struct words *arguments,
                        struct ob_fault *fault);

#endif
