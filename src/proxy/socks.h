// SPDX-License-Identifier: BSD-3-Clause
/* SOCKS5 with a connection that came to a -D listener; then a relay to where it wants to go. */
#ifndef OUTBOARD_PROXY_SOCKS_H
#define OUTBOARD_PROXY_SOCKS_H

struct proxy;

/* Takes fd. */
void socks_serve(struct proxy *proxy, int fd);
/* Hangs up on everybody who has not said yet where to go. */
void socks_done(struct proxy *proxy);

#endif
