// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host names to addresses, without waiting and without the C library's name services in this
 * process: they wait, and a static program can't have them. getent(1) is asked, which the C library
 * brings along; if it is missing or fails, a child looks into the hosts file and asks the
 * name servers itself (lookup.h).
 */
#ifndef OUTBOARD_ENDPOINT_RESOLVE_H
#define OUTBOARD_ENDPOINT_RESOLVE_H

#include <sys/socket.h>

#include "endpoint/address.h"
#include "os/child.h"
#include "os/loop.h"

/* Addresses taken of one name. */
#define RESOLVE_MAX 8

struct resolve;

struct resolved {
    struct sockaddr_storage address[RESOLVE_MAX]; /* TCP, without port */
    unsigned count;                               /* 0: the name has no address */
    char canonical[ADDRESS_NAME_MAX + 1];         /* the host's own name; "": not told */
};

/* The resolve is freed before. */
typedef void (*resolve_fn)(void *argument, const struct resolved *resolved);

/* Starts resolving. 0 or a negative errno; the answer comes from the loop, never from within. */
int resolve_start(struct loop *loop, struct children *children, const char *name, resolve_fn done,
                  void *argument, struct resolve **ret_resolve);
/* No answer comes. NULL is fine. */
void resolve_cancel(struct resolve *resolve);

#endif
