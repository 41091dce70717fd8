// SPDX-License-Identifier: BSD-3-Clause
/*
 * Order sender: the supervisor's side of base/orders.h, one for each device process.
 *
 * The answers come by the ready socket, which bounds their rate. An answer to an order that was not
 * sent is dropped. All orders fail if the oldest is not answered within LIMIT_ORDER_MS, or if the
 * process ends.
 */
#ifndef OUTBOARD_SUPERVISOR_ORDER_SENDER_H
#define OUTBOARD_SUPERVISOR_ORDER_SENDER_H

#include "base/orders.h"
#include "os/timer.h"
#include "supervisor/ready_socket.h"

/* err: 0 or a negative errno, and then why. len: of a saved state. */
typedef void (*order_fn)(void *argument, int err, uint64_t len, const char *why);

/* Orders of one process that wait for their answer. */
#define ORDERS_PENDING 4u

struct order_sender {
    struct timers *timers;
    int fd; /* -1: there is no process */
    uint32_t next_id;
    unsigned count;
    struct order_pending {
        uint32_t id;
        order_fn answered; /* NULL: nobody is told */
        void *argument;
    } pending[ORDERS_PENDING];
    struct timer patience;
};

/* Makes the pair for a process that is to be started: both ends are the caller's, at spare_fd or above.
 * 0 or a negative errno. */
int order_sender_pair(int spare_fd, int *ret_ours, int *ret_theirs);
/* The device's process is the one with the other end; fd is taken over. */
void order_sender_begin(struct order_sender *sender, struct timers *timers, int fd);
/* It has ended. */
void order_sender_end(struct order_sender *sender);

/* Sends an order, with a duplicate of the descriptor unless it is -1. 0; -ENOTCONN: there is no
 * process; -EBUSY: ORDERS_PENDING wait; or another errno: then nobody is told. */
int order_sender_send(struct order_sender *sender, const struct order *order, int fd,
                      order_fn answered, void *argument);
/* The process has told something. */
void order_sender_hear(struct order_sender *sender, const struct ready_told *told);

#endif
