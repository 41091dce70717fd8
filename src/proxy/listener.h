// SPDX-License-Identifier: BSD-3-Clause
/* Listener: accepts connections at an address of ours and opens a stream for each. */
#ifndef OUTBOARD_PROXY_LISTENER_H
#define OUTBOARD_PROXY_LISTENER_H

#include "proxy/options.h"

struct listener;
struct proxy;

/* Listens. Freed with proxy.listeners, or by listener_free(). 0 or a negative errno. */
int listener_new(struct proxy *proxy, const struct forward *forward,
                 struct listener **ret_listener);
/* NULL is fine. */
void listener_free(struct listener *listener);
void listener_free_all(struct proxy *proxy);

/* Where it listens, with the port that the kernel chose. */
void listener_address(const struct listener *listener, char ret_text[ADDRESS_TEXT_MAX]);

#endif
