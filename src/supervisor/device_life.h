// SPDX-License-Identifier: BSD-3-Clause
/*
 * Device life: one process of a device, with its log and its ready socket. Its descriptors are the
 * device's socket, if it has one, the page of statistics, the socket of orders, and those of a vault.
 */
#ifndef OUTBOARD_SUPERVISOR_DEVICE_LIFE_H
#define OUTBOARD_SUPERVISOR_DEVICE_LIFE_H

#include "os/child.h"
#include "os/timer.h"
#include "supervisor/child_log.h"
#include "supervisor/order_sender.h"
#include "supervisor/plan.h"
#include "supervisor/ready_socket.h"
#include "supervisor/restart.h"

/* Descriptors of ours lie above the numbers that they will have in another process: devices' sockets
 * and QMP's in the VMM. */
#define SPARE_FD (PLAN_FIRST_FD + (int)LIMIT_DEVICES + 1)

struct device_life_spec {
    struct loop *loop;
    struct timers *timers;
    struct children *children;
    char *const *environment; /* of the supervisor, without the service manager's variables */
    const struct plan_device *plan;
    const char *program; /* NULL: the plan's */
    int socket_fd;       /* -1: it makes its own */
    int statistics_fd;
    ready_fn told;
    child_exit_fn ended;
    void *argument;
};

struct device_life {
    struct child *child; /* NULL: there is no process */
    struct child_log *log;
    struct ready_socket *ready;
    int orders_fd; /* ours, of order_sender_pair(); -1: none */
};

#define DEVICE_LIFE_NONE                                                                           \
    (struct device_life)                                                                           \
    {                                                                                              \
        .orders_fd = -1                                                                            \
    }

/* The descriptors of a process's vault, and the variable that names them (base/vault_head.h). */
struct device_life_vault {
    int fds[RESTART_FDS];
    unsigned count;
    char *variable; /* NULL: there is no vault */
};

/* A page for a device's counters, whose length the device can't change, above the numbers that descriptors
 * have in a process. 0 or a negative errno. */
int device_life_make_statistics(int *ret_fd);

/* The number there of the first descriptor of its vault. */
int device_life_first_fd(const struct device_life_spec *spec);

/* 0 or a negative errno; then there is no process, and *ret_life is to be ended like another. */
int device_life_start(const struct device_life_spec *spec, const struct device_life_vault *vault,
                      struct device_life *ret_life);

/* Who is told of it from now on. */
void device_life_watch(struct device_life *life, ready_fn told, child_exit_fn ended,
                       void *argument);

/* Kills it, and forgets it. */
void device_life_kill(struct device_life *life);
/* Frees its log and its socket. A process that still runs continues. */
void device_life_done(struct device_life *life);

#endif
