// SPDX-License-Identifier: BSD-3-Clause
/*
 * Turns: any number of clients use one qemu-ga by turns, a request at a time.
 *
 * qga_mark.h finds the end of each answer. It goes to the client of the request,
 * if that is still there. So no client ever reads the answer of another, whatever was under way when
 * one vanished.
 *
 * How bytes get to qemu-ga is the owner's matter, a stream of a session or a port of a guest.
 */
#ifndef OUTBOARD_ENDPOINT_QGA_TURNS_H
#define OUTBOARD_ENDPOINT_QGA_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "endpoint/qga_client.h"
#include "endpoint/qga_mark.h"
#include "os/timer.h"

struct qga_turns;

struct qga_turns_ops {
    /* Connects to qemu-ga. 0, -EINPROGRESS (requests wait for qga_turns_connected()), or another
     * negative errno, with which the requests that wait are refused. */
    int (*connect)(struct qga_turns *turns);
    /* Sends bytes, which stay until qga_turns_sent(). 0 or a negative errno. */
    int (*send)(struct qga_turns *turns, const char *bytes, size_t len);
    /* The connection is over. */
    void (*disconnect)(struct qga_turns *turns);
    void (*set_timer)(struct qga_turns *turns, struct timer *timer, uint64_t at_ns);
};

/* Embedded in the owner. */
struct qga_turns {
    const struct qga_turns_ops *ops;
    struct loop *loop;
    const struct agent_policy *policy; /* of requests; NULL: none */
    struct list clients;               /* the next one is the first */
    unsigned count;
    bool connected;
    struct qga_client *asker; /* NULL: no request, or its client has gone */
    bool busy;                /* an answer is awaited */
    char *out;                /* lent to the owner */
    struct qga_mark mark;
    struct timer again; /* for requests that came while others were refused */
};

void qga_turns_init(struct qga_turns *turns, struct loop *loop, const struct qga_turns_ops *ops);
void qga_turns_done(struct qga_turns *turns);

/* Takes a client's descriptor. */
void qga_turns_add(struct qga_turns *turns, int fd);

/* The connection stands now, of its own accord. */
void qga_turns_connected(struct qga_turns *turns);

/* qemu-ga has gone: its client sees the end of its connection, and the requests that wait are
 * refused. */
void qga_turns_lost(struct qga_turns *turns, const char *why);

/* qemu-ga has gone and will come again: clients that have asked it see the end of their connections,
 * the requests of the others wait. */
void qga_turns_paused(struct qga_turns *turns);

/* The bytes of the last send were taken. */
void qga_turns_sent(struct qga_turns *turns);

/* Takes bytes of qemu-ga up to the end of an answer. Returns how many; *ret_ended: the end was
 * there, and qga_turns_answered() is to be called. */
size_t qga_turns_take(struct qga_turns *turns, const char *bytes, size_t len, bool *ret_ended);
void qga_turns_answered(struct qga_turns *turns);

#endif
