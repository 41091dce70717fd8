// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host names to addresses, without waiting: getaddrinfo(3) waits, and in a static program may load
 * libraries that do not fit it, so it runs in a forked child.
 */
#ifndef OUTBOARD_OS_RESOLVE_H
#define OUTBOARD_OS_RESOLVE_H

#include <sys/socket.h>

#include "os/child.h"
#include "os/loop.h"

/* Addresses taken of one name. */
#define RESOLVE_MAX 8

struct resolve;

/* addresses: TCP, without port; count: 0 when the name has none. The resolve is freed before. */
typedef void (*resolve_fn)(void *argument, const struct sockaddr_storage *addresses, int count);

/* Starts resolving. 0 or a negative errno; the answer comes from the loop, never from within. */
int resolve_start(struct loop *loop, struct children *children, const char *name, resolve_fn done,
                  void *argument, struct resolve **ret_resolve);
/* No answer comes. NULL is fine. */
void resolve_cancel(struct resolve *resolve);

#endif
