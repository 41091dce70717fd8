// SPDX-License-Identifier: BSD-3-Clause
/*
 * Device process: a device program from its start to its end, as the supervisor sees it.
 *
 * Starting, then ready (READY=1), then ended; or ended before it was ready. It ends by itself when
 * its VMM closes the socket. device_process_stop() asks it to end; if it does not, it is killed.
 *
 * If the plan says so, and the process is killed or crashes while its VMM is there, another one is
 * started (restart.h): the device is starting again. Its owner is told of READY once more.
 *
 * If the plan has a watchdog, the process has to tell regularly that its loop runs. If it does not,
 * it hangs: it is killed, and `hung` says so.
 */
#ifndef OUTBOARD_SUPERVISOR_DEVICE_PROCESS_H
#define OUTBOARD_SUPERVISOR_DEVICE_PROCESS_H

#include <stdbool.h>

#include "os/child.h"
#include "os/timer.h"
#include "supervisor/child_log.h"
#include "supervisor/plan.h"
#include "supervisor/ready_socket.h"
#include "supervisor/restart.h"

enum device_process_state {
    DEVICE_PROCESS_STARTING,
    DEVICE_PROCESS_READY,
    DEVICE_PROCESS_ENDED,
};

/* Its owner's side. `changed` is called after each change of state. */
struct device_process_host {
    struct loop *loop;
    struct timers *timers;
    struct children *children;
    char *const *environment; /* of the supervisor, without the service manager's variables */
    int spare_fd;             /* descriptors of ours are from here on */
    void (*changed)(void *argument);
    void *argument;
};

struct device_process {
    const struct device_process_host *host;
    const struct plan_device *plan;
    enum device_process_state state;
    int status; /* as of waitpid(2), once it has ended */
    bool stopping;
    bool expects_end; /* its VMM has gone */
    bool hung;
    bool failed;         /* did not get ready, or ended by itself with a failure */
    struct child *child; /* NULL: has ended */
    struct child_log *log;
    struct ready_socket *ready;
    bool restarts; /* another process continues when this one has died */
    struct restart restart;
    struct timer again;    /* when the next one is started */
    struct timer patience; /* for READY, the next sign of life, or the end */
};

/* Starts it. `socket_fd`: its descriptor 3, the caller's; -1: it listens. 0 or a negative errno. */
int device_process_start(struct device_process *device, const struct plan_device *plan,
                         int socket_fd, const struct device_process_host *host,
                         struct ob_fault *fault);

/* Asks it to end. It is killed after LIMIT_STOP_MS. */
void device_process_stop(struct device_process *device);

/* Its VMM has gone: it ends by itself, or is asked to after LIMIT_STOP_MS. */
void device_process_expect_end(struct device_process *device);

/* Frees its resources. A process that still runs keeps running. */
void device_process_done(struct device_process *device);

#endif
