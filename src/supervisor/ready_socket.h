// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ready socket: the end of $NOTIFY_SOCKET, sd_notify(3), at which a device program tells that it
 * serves, and that its loop runs. Each device has a socket of its own with an abstract name that the
 * kernel draws. Anybody can send to such a name, so only messages of the device's process and its
 * children count.
 */
#ifndef OUTBOARD_SUPERVISOR_READY_SOCKET_H
#define OUTBOARD_SUPERVISOR_READY_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/loop.h"
#include "os/timer.h"

struct ready_socket;

#define READY_STATUS_LEN 128
#define READY_FAULT_LEN  256

struct ready_told {
    bool ready;                    /* READY=1 */
    bool stopping;                 /* STOPPING=1: it ends by itself */
    bool waiting;                  /* X_OUTBOARD_WAITING=1: a successor can have its turn */
    bool alive;                    /* WATCHDOG=1 */
    bool has_client;               /* X_OUTBOARD_CLIENT was told, and was... */
    bool client;                   /* ...1 */
    char status[READY_STATUS_LEN]; /* STATUS=, printable; "": it was not told */
    bool has_answer;               /* to an order, base/orders.h */
    struct ready_answer {
        uint32_t id;
        int error; /* 0, or a positive errno */
        uint64_t len;
        char why[READY_FAULT_LEN]; /* printable */
    } answer;
};

typedef void (*ready_fn)(void *argument, const struct ready_told *told);

/* A process that sends without end is read at a bounded rate: then its sends wait. */
int ready_socket_new(struct loop *loop, struct timers *timers, ready_fn ready, void *argument,
                     struct ready_socket **ret_socket);
/* The same for a socket, which is taken over, of one that there was before. */
int ready_socket_adopt(struct loop *loop, struct timers *timers, ready_fn ready, void *argument,
                       int fd, struct ready_socket **ret_socket);
int ready_socket_fd(const struct ready_socket *socket);
/* NULL is fine. */
void ready_socket_free(struct ready_socket *socket);

/* The value of NOTIFY_SOCKET. */
const char *ready_socket_name(const struct ready_socket *socket);

/* Who is told from now on. */
void ready_socket_watch(struct ready_socket *socket, ready_fn ready, void *argument);
/* Reads the last messages of the process, which has ended. */
void ready_socket_finish(struct ready_socket *socket);

/* Names the process that may tell. Messages that it sent earlier count. 0 or a negative errno. */
int ready_socket_trust(struct ready_socket *socket, pid_t pid);

#endif
