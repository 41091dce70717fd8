// SPDX-License-Identifier: BSD-3-Clause
/* The wires that a device program can serve, and which of them a peer speaks. */
#ifndef OUTBOARD_PROGRAM_WIRES_H
#define OUTBOARD_PROGRAM_WIRES_H

#include <stdbool.h>

#include "os/loop.h"
#include "server/greeting.h"

/* The wire of that name. 0, or -EINVAL with the fault filled. setting: the option or field that
 * the fault names; NULL if the caller adds it. */
int wires_find(const char *setting, const char *name, const struct engine_ops **ret_wire,
               struct ob_fault *fault);

/* A wire that carries DMA by messages: *wire, or the only one if that is NULL. 0, or -EINVAL with
 * the fault filled; setting: the option or field that requests such messages. */
int wires_use_messages(const char *setting, const struct engine_ops **wire, struct ob_fault *fault);

/* Opens the descriptors that their code needs, once in a process. */
void wires_prepare(void);

/* Which wire the first bytes of the peer on fd are of; they stay in the socket. 0; -EAGAIN when
 * they are too few; -ENOTCONN when the peer has gone; or another errno with the fault filled. */
int wires_peek(int fd, const struct engine_ops **ret_wire, struct ob_fault *fault);

/* Waits until the peer on fd has begun its first message and tells which wire that is of; its
 * bytes stay in the socket. 0, -ENOTCONN when the peer goes before that, -ECANCELED when *stop
 * was set by a callback of the loop, or another errno with the fault filled. */
int wires_detect(int fd, struct loop *loop, const bool *stop, const struct engine_ops **ret_wire,
                 struct ob_fault *fault);

#endif
