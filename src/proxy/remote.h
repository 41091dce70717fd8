// SPDX-License-Identifier: BSD-3-Clause
/*
 * Listening at the other end: requests of -R, and of a peer's -R.
 *
 * An end that wants it opens a stream to the service @listen, whose metadata is ADDRESS, or ADDRESS and
 * SERVICE with a space between (ADDRESS as address_format() writes it; without SERVICE the clients
 * speak SOCKS5). The other end accepts once it listens, and sends the address, with the port that
 * it got, and a newline. It listens for as long as the stream stands; for each connection it opens
 * a stream of its own to SERVICE.
 */
#ifndef OUTBOARD_PROXY_REMOTE_H
#define OUTBOARD_PROXY_REMOTE_H

#include <outboard/session.h>
#include <stdbool.h>

#include "proxy/options.h"

#define REMOTE_SERVICE "@listen"

struct proxy;

/* Makes a want of each -R. 0 or -ENOMEM. */
int remote_init(struct proxy *proxy);
void remote_done(struct proxy *proxy);

/* A session stands: asks the peer for each address, and again where it can't be had. The results
 * are logged. */
void remote_on_up(struct proxy *proxy);

/* How it stands with a -R. */
struct remote_view {
    char address[ADDRESS_TEXT_MAX];
    const char *service;
    bool listens;
    const char *why; /* it does not */
};

typedef void (*remote_view_fn)(void *argument, const struct remote_view *view);
void remote_each(const struct proxy *proxy, remote_view_fn see, void *argument);

/* Whether the peer may have us listen there. */
bool remote_may_listen(const struct proxy_options *options, const struct address *address);

/* Answers the peer's request. */
void remote_incoming(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open);

#endif
