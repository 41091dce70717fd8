// SPDX-License-Identifier: BSD-3-Clause
/*
 * The orders of the supervisor (base/orders.h), carried out between two messages of the VMM.
 *
 * An order that has to wait, for a device with requests in flight to come to rest, is looked at again
 * every few milliseconds. Later orders wait in the socket meanwhile.
 */
#ifndef OUTBOARD_PROGRAM_ORDERS_H
#define OUTBOARD_PROGRAM_ORDERS_H

#include "base/orders.h"
#include "device/device.h"
#include "os/loop.h"
#include "program/connection.h"
#include "program/trace.h"

struct orders {
    int fd; /* -1: the launcher gives none */
    struct loop_source *source;
    int ticker_fd; /* -1: likewise */
    struct loop_source *ticker;
    int notify_fd;
    struct ob_device *device; /* NULL: not made yet */
    struct trace *trace;      /* NULL: likewise */
    struct hold *hold;        /* of the connection */
    uint64_t deadline_ns;     /* of ORDER_DRAIN */
    struct order now;
    int file_fd;      /* that came with it, or -1 */
    bool is_busy;     /* with `now` */
    bool rests;       /* the device does, on account of an order */
    char answer[512]; /* waits for room in the launcher's socket; "": none does */
};

/* The socket that $OUTBOARD_ORDERS_FD names, from now on close-on-exec; -1: the variable is not set,
 * or names no such socket. */
int orders_take(void);

/* Watches it, if it is one. The orders stay where they are; `device` and `trace` are set before the loop runs. 0
 * or a negative errno. */
int orders_begin(struct orders *orders, struct loop *loop, int fd, int notify_fd);
void orders_end(struct orders *orders);

#endif
