// SPDX-License-Identifier: BSD-3-Clause
/*
 * The supervisor's state, for the files that carry out parts of its work. supervisor.c has the life
 * of the machine, commands.c the commands of the control socket. hotplug.c adds and removes devices;
 * health.c pauses the VM for devices that hang; saving.c has their states at rest.
 */
#ifndef OUTBOARD_SUPERVISOR_INTERNAL_H
#define OUTBOARD_SUPERVISOR_INTERNAL_H

#include "supervisor/device_process.h"
#include "supervisor/hotplug.h"
#include "supervisor/ledger.h"
#include "supervisor/monitor.h"
#include "supervisor/plan.h"
#include "supervisor/qmp.h"
#include "supervisor/saving.h"
#include "supervisor/supervisor.h"

/* The VM's run state, as QMP tells it, and pauses on account of devices that hang. */
struct health {
    bool runs;   /* the VM does */
    bool paused; /* we have asked for a pause, and not for its end */
    uint64_t pauses;
    uint64_t since_ns;             /* of the pause that lasts */
    uint64_t total_ns, longest_ns; /* of those that are over */
};

/* For a supervisor that takes over when this one has been killed. */
struct guard {
    struct ledger *ledger; /* NULL: nobody could take over */
    int ledger_fd;
    int guardian; /* its process id */
};

struct supervisor {
    struct plan *plan;
    struct loop *loop;
    struct timers timers;
    struct children *children;
    char **environment;
    struct device_process_host host;
    struct device_process devices[LIMIT_DEVICES]; /* of plan->devices with the same number */
    struct plug plugs[LIMIT_DEVICES];             /* likewise */
    unsigned started;
    int vmm_fds[LIMIT_DEVICES + 1]; /* the VMM's ends, until it has them */
    unsigned vmm_fd_count;
    struct child *vmm; /* NULL: not yet, or has ended */
    struct timer vmm_patience;
    struct monitor *monitor; /* NULL: not yet */
    struct qmp *qmp;         /* NULL: not started yet, or not QEMU */
    struct health health;
    struct saving saving;
    uint64_t start_ns;
    struct guard guard;
    int notify_fd; /* -1: no service manager listens */
    int signal_fd;
    struct loop_source *signals;
    bool running; /* all devices were ready */
    bool ending;
    enum supervisor_status status; /* the first failure */
};

#endif
