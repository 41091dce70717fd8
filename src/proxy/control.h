// SPDX-License-Identifier: BSD-3-Clause
/*
 * Control socket: lines of text, by which programs at this end use a running proxy.
 *
 *   WAIT            UP TAG, as soon as a session stands; from a proxy that a command brought along
 *                   also DOWN TEXT, when none can
 *   PING            PONG NANOSECONDS, or DOWN
 *   STATUS          lines of text, then the end
 *   STATUS json     one JSON object, then the end
 *   OPEN SERVICE    OK, or REFUSED NUMBER TEXT; after OK the connection is the stream
 *   RUN SERVICE     likewise, for a stream of frames (wire/run.h)
 *
 * ERROR TEXT and the end tell of another line, and of LIMIT_CONTROL_CLIENTS clients
 * that are there already.
 *
 * Each program that may connect may do all of that: the socket's mode is 0600.
 */
#ifndef OUTBOARD_PROXY_CONTROL_H
#define OUTBOARD_PROXY_CONTROL_H

#include <outboard/fault.h>
#include <stdint.h>

struct proxy;

/* Listens at options.control, if there is one. 0 or a negative errno with the fault filled. */
int control_listen(struct proxy *proxy, struct ob_fault *fault);
/* Takes a client that is connected. 0 or a negative errno; then fd is closed. */
int control_adopt(struct proxy *proxy, int fd);
void control_done(struct proxy *proxy);

/* No session will stand unless somebody changes something: tells those that wait for one. */
void control_on_hopeless(struct proxy *proxy, const char *why);

/* A session stands; a PING was answered; the session ended. */
void control_on_up(struct proxy *proxy);
void control_on_pong(struct proxy *proxy, uint64_t round_trip_ns);
void control_on_ended(struct proxy *proxy);

#endif
