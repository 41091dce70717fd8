// SPDX-License-Identifier: BSD-3-Clause
/*
 * Tenant: a session, and whom its events are for. That is the proxy, whose flows live in it; or,
 * while its peer has yet to prove itself, a claimant (claimants.h).
 */
#ifndef OUTBOARD_PROXY_TENANT_H
#define OUTBOARD_PROXY_TENANT_H

#include <outboard/session.h>

struct proxy;

/* Events of the proxy's own session, which its owner handles (proxy.c). */
struct tenant_ops {
    void (*stands)(struct proxy *proxy, uint64_t tag);
    void (*ended)(struct proxy *proxy, uint32_t reason);
    void (*pong)(struct proxy *proxy, uint64_t round_trip_ns);
    void (*incoming)(struct proxy *proxy, struct ob_stream *stream, const struct ob_open *open);
};

struct tenant {
    struct proxy *proxy;
    const struct tenant_ops *ops;
    struct ob_session *session;
    /* A claimant's: told that the session stands, in its receive, or that none will. NULL: the
     * proxy's own. */
    void (*stood)(void *argument);
    void (*failed)(void *argument, uint32_t reason);
    void *argument;
};

/* Makes a session as the options say, its channel down. 0 or a negative errno. */
int tenant_new(struct proxy *proxy, const struct tenant_ops *ops, struct tenant **ret_tenant);
/* Its streams must be over. NULL is fine. */
void tenant_free(struct tenant *tenant);

/* The claimant's session, which stands, becomes the proxy's; the one before is freed. */
void tenant_move_in(struct tenant *tenant);

#endif
