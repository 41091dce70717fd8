// SPDX-License-Identifier: BSD-3-Clause
/*
 * Claimants: connections to a channel that listens, until they have a session.
 *
 * Each has a session of its own, which greets. The channel stays with the peer that it has until
 * a claimant's session stands, so that nobody loses it to who only connects, or has no key. The
 * claimants are few, and the last one to connect has the best chance: it can be nobody's fault that
 * others wait.
 */
#ifndef OUTBOARD_PROXY_CLAIMANTS_H
#define OUTBOARD_PROXY_CLAIMANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct claimant;
struct claimants;
struct proxy;
struct tenant;

/* Bytes that a claimant sent behind its greetings, at most; the rest lies in its socket. */
#define CLAIMANT_REST_MAX 512

/* A claimant's session stands. Nothing more of it is read until somebody takes or refuses it. */
typedef void (*claimant_fn)(void *argument, struct claimant *claimant);

int claimants_new(struct proxy *proxy, claimant_fn stands, void *argument,
                  struct claimants **ret_claimants);
/* NULL is fine. */
void claimants_free(struct claimants *claimants);

/* Takes a connection. */
void claimants_add(struct claimants *claimants, int fd);
/* Whether there is any. */
bool claimants_wait(const struct claimants *claimants);
/* The last one whose session stands, or NULL. */
struct claimant *claimants_standing(const struct claimants *claimants);

/* Ends its session with this reason, and closes it. */
void claimant_refuse(struct claimant *claimant, uint32_t reason);
/* Gives its connection and its session away. Returns the descriptor. */
int claimant_take(struct claimant *claimant, struct tenant **ret_tenant,
                  uint8_t ret_rest[CLAIMANT_REST_MAX], size_t *ret_rest_len);

#endif
