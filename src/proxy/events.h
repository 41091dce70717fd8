// SPDX-License-Identifier: BSD-3-Clause
/*
 * Events: lines about the other end for readers of this one, on standard output or at a Unix socket.
 *
 * Nothing waits for a reader. One that falls behind by LIMIT_EVENT_UNREAD bytes loses lines, and a line
 * says how many.
 */
#ifndef OUTBOARD_PROXY_EVENTS_H
#define OUTBOARD_PROXY_EVENTS_H

#include <outboard/fault.h>
#include <stddef.h>

struct events;
struct proxy;

/* where: "-" or the path of a socket. 0 or a negative errno with the fault filled. */
int events_new(struct proxy *proxy, const char *where, struct events **ret_events,
               struct ob_fault *fault);
/* NULL is fine. */
void events_free(struct events *events);

/* line: whole, with its newline; LIMIT_EVENT_LINE bytes at most. */
void events_tell(struct events *events, const char *line, size_t len);

#endif
