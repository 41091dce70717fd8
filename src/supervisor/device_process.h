// SPDX-License-Identifier: BSD-3-Clause
/*
 * Device process: a device program from its start to its end, as the supervisor sees it.
 *
 * Starting, then ready (READY=1), then ended; or ended before it was ready. It ends by itself when
 * its VMM closes the socket. device_process_stop() asks it to end; if it does not, it is killed.
 *
 * If the plan says so, and the process is killed or crashes while its VMM is there, another one is
 * started (restart.h), or a spare one, which waits already, has its turn: the device is starting
 * again. Its owner is told of READY once more. An upgrade (upgrade.h) replaces a process that lives.
 *
 * If the plan has a watchdog, the process has to tell regularly that its loop runs. If it does not,
 * it hangs, and `hung` says so. It is killed, and may be restarted; or, if the policy is PLAN_PAUSE, its owner pauses the
 * VM, and it hangs until it gives a sign of life.
 */
#ifndef OUTBOARD_SUPERVISOR_DEVICE_PROCESS_H
#define OUTBOARD_SUPERVISOR_DEVICE_PROCESS_H

#include <stdbool.h>

#include "supervisor/gaps.h"
#include "supervisor/ledger.h"
#include "supervisor/upgrade.h"

enum device_process_state {
    DEVICE_PROCESS_STARTING,
    DEVICE_PROCESS_READY,
    DEVICE_PROCESS_ENDED,
};

struct device_process;

enum device_event {
    DEVICE_BECAME_READY,
    DEVICE_ENDED,
    DEVICE_HUNG,
    DEVICE_ALIVE, /* hangs no more */
    DEVICE_CLIENT_CAME,
    DEVICE_CLIENT_WENT,
    DEVICE_RESTARTS, /* its process has died, and another one is started */
    DEVICE_UPGRADED, /* another process has taken its place */
};

/* Its owner's side. `changed` is called after each change of state; `told` before that, and after
 * other events. */
struct device_process_host {
    struct loop *loop;
    struct timers *timers;
    struct children *children;
    char *const *environment; /* of the supervisor, without the service manager's variables */
    int spare_fd;             /* descriptors of ours are from here on */
    void (*changed)(void *argument);
    void (*told)(void *argument, const struct device_process *device, enum device_event event);
    void *argument;
};

/* A process that waits for the end of the device's. */
struct spare {
    struct successor process;
    bool waits;         /* it could have its turn at once */
    unsigned idle;      /* that have ended in a row while they waited */
    struct timer again; /* when the next is started */
};

/* drained: nothing of the old process is done again. error: NULL, or why the old process continues. */
typedef void (*device_upgraded_fn)(void *argument, bool drained, const char *error);

struct device_upgrade {
    struct upgrade upgrade;
    struct upgrade_events events;
    device_upgraded_fn done; /* NULL: nobody waits */
    void *argument;
};

/* For the process that comes after the one of now. */
struct succession {
    bool said_end;      /* the process of now has told that it ends */
    struct timer again; /* when it is started */
    struct spare spare;
    struct device_upgrade upgrading;
    char *program; /* of an upgrade; NULL: the plan's */
};

struct device_process {
    const struct device_process_host *host;
    const struct plan_device *plan;
    enum plan_on_hang on_hang;
    enum device_process_state state;
    int status; /* as of waitpid(2), once it has ended */
    bool stopping;
    bool expects_end; /* its VMM has gone */
    bool hung;
    bool has_client;     /* a VMM is served */
    bool failed;         /* did not get ready, or ended by itself with a failure */
    struct child *child; /* NULL: has ended */
    struct child_log *log;
    struct ready_socket *ready;
    bool restarts; /* another process continues when this one has died */
    struct restart restart;
    struct succession next;
    struct gaps gaps;
    struct timer patience;              /* for READY, the next sign of life, or the end */
    char status_text[READY_STATUS_LEN]; /* its own words, printable */
    int statistics_fd;                  /* the page that it writes, base/statistics.h; -1: none */
    struct order_sender orders;         /* to the process */
    bool traces;                        /* it was told to */
    int trace_fd;                       /* the file of the trace; -1: the log */
    char why_given_up[READY_FAULT_LEN]; /* "": it was not */
};

/* Starts it. `socket_fd`: its descriptor 3, the caller's; -1: it listens. 0 or a negative errno. */
int device_process_start(struct device_process *device, const struct plan_device *plan,
                         int socket_fd, const struct device_process_host *host,
                         struct ob_fault *fault);

/* Continues with a device whose supervisor has died. The record's descriptors are taken over. */
int device_process_adopt(struct device_process *device, const struct plan_device *plan,
                         const struct ledger_device *record, const struct device_process_host *host,
                         struct ob_fault *fault);

/* Another process, of `program` or of the same, is to continue. done() is called once, as long as the
 * device is there. 0, or a negative errno with
 * the fault filled. */
int device_process_upgrade(struct device_process *device, const char *program,
                           device_upgraded_fn done, void *argument, struct ob_fault *fault);

/* Whether a process is there that continues as soon as this one dies: its number, or 0. */
pid_t device_process_spare(const struct device_process *device);

/* Asks it to end. It is killed after LIMIT_STOP_MS. */
void device_process_stop(struct device_process *device);

/* Its VMM has gone: it ends by itself, or is asked to after LIMIT_STOP_MS. */
void device_process_expect_end(struct device_process *device);

/* Has its messages traced from now on, or no more, also by a process that continues for this one: in
 * the file, which is taken over, at SPARE_FD or above, or, with -1, in its log. Returns as
 * order_sender_send(). */
int device_process_trace(struct device_process *device, bool on, int fd, order_fn answered,
                         void *argument);

/* Frees its resources. A process that still runs keeps running. */
void device_process_done(struct device_process *device);

#endif
