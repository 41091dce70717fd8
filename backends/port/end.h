// SPDX-License-Identifier: BSD-3-Clause
/*
 * End: the host's end of a channel of a guest. It has one peer at a time; the next one waits in the
 * kernel until the owner lets the last one go.
 *
 *   listen:PATH     who connects to a Unix socket; @NAME is an abstract one
 *   connect:PATH    a Unix socket that the end connects to, again after each end
 *   pty[:LINK]      a pseudo terminal, to which LINK is a symbolic link
 *   file:PATH       a file to which the guest's bytes are appended; it never has a byte for the guest
 *   pipe:PATH       the FIFOs PATH.in, whose bytes go to the guest, and PATH.out
 *   command:TEXT    a shell command, started when the guest opens its side
 *   fd:N            a descriptor that the launcher has passed: a socket, a pipe or a terminal
 */
#ifndef OUTBOARD_PORT_END_H
#define OUTBOARD_PORT_END_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct port_hub;
struct port_end;

/* A peer has come, or can do something that it could not, or has gone. */
typedef void (*port_end_fn)(void *argument);

/* A connection came: the descriptor, non-blocking, is the callee's. */
typedef void (*port_accept_fn)(void *argument, int fd);

/* Whether a text begins as a description of an end does. */
bool port_end_is_description(const char *text);

/* Opens the path. name: becomes OUTBOARD_SERVICE for a command; kept. The hub frees it. 0 or
 * a negative errno. */
int port_end_open(struct port_hub *hub, const char *name, const char *description,
                  struct port_end **ret_end, struct ob_fault *fault);

/* Takes peers from now on. 0 or a negative errno. */
int port_end_serve(struct port_end *end, port_end_fn changed, void *argument);

/* Takes any number of connections at a time; -EINVAL if the end does not listen. */
int port_end_share(struct port_end *end, port_accept_fn accepted, void *argument);

/* Who comes while a peer is served is not kept waiting but sees the end of the connection. */
void port_end_refuse_others(struct port_end *end);

/* Whether there is a peer. */
bool port_end_has_peer(const struct port_end *end);
/* Whether the peer has closed both directions, and no byte of it is left to be read. */
bool port_end_has_gone(const struct port_end *end);
/* Whether the peer has closed both directions. */
bool port_end_is_closed(const struct port_end *end);
/* Whether a peer is there whenever the guest wants one: the next session is the guest's to begin. */
bool port_end_is_lazy(const struct port_end *end);
/* Whether the peer has no end that the device could see. */
bool port_end_is_permanent(const struct port_end *end);

/* A session has begun: starts the command. */
void port_end_begin(struct port_end *end);

/* Reads once. The length, 0 when the peer has ended its direction, or -EAGAIN. */
ssize_t port_end_read(struct port_end *end, void *ret_bytes, size_t len);
/* Writes once. The length, -EAGAIN, or another negative errno: the peer reads no more. */
ssize_t port_end_write(struct port_end *end, const struct iovec *spans, int count);

/* Lets the peer go, which reads the bytes written and then the end, and takes the next one. */
void port_end_next(struct port_end *end);

/* The window of a terminal has this size. */
void port_end_resize(struct port_end *end, unsigned columns, unsigned rows);

/* Whether another process of the device can continue with the peer that is there: a socket can be handed over, and
 * a file or a pipe is opened by each. A terminal can't, nor a command that is being started. */
bool port_end_can_be_handed_over(const struct port_end *end);
/* Whether a peer is a descriptor of its own, in a session. */
bool port_end_peers_have_fds(const struct port_end *end);
/* The peer's descriptor if it is to be handed over, or -1. It stays the end's. */
int port_end_fd(const struct port_end *end);
/* The peer is the one that a process before had. 0, then the descriptor is the end's, or -EINVAL. */
int port_end_adopt(struct port_end *end, int fd);

/* Where the end is, for status. */
const char *port_end_description(const struct port_end *end);

#endif
