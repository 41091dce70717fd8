// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rules: which addresses a peer may have us connect to or listen at.
 *
 * A rule allows or denies PATTERN:PORTS. PATTERN is *, a host name in which * stands for anything,
 * an address, or a network (10.0.0.0/8); PORTS is *, a port, or a range (8000-8010). The first rule
 * that matches decides; without a match the answer is no.
 *
 * A name is judged twice: before it is resolved, so that nobody can make us ask for names that no
 * rule could allow; and then by its addresses, each for itself, so that a name does
 * not lead into a network that is denied, nor an alias to a name that is denied. The rules do
 * not know which addresses a denied name has: a peer that asks for one of these by number is
 * judged by number.
 */
#ifndef OUTBOARD_ENDPOINT_RULES_H
#define OUTBOARD_ENDPOINT_RULES_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint/address.h"

struct rule;

struct rules {
    struct rule *rule;
    size_t count;
};

/* Adds a rule behind the others. 0, -EINVAL with the fault filled, or -ENOMEM. */
int rules_add(struct rules *rules, bool allow, const char *text, struct ob_fault *fault);
void rules_done(struct rules *rules);

/* Whether some resolution of this name could be allowed. Names are in the form of hostname.h. */
bool rules_allow_name(const struct rules *rules, const char *name, uint16_t port);

/* Whether this numeric address is allowed, to which the name (NULL: none) was resolved; canonical
 * is the host's own name, which the resolver told (NULL or "": it did not). */
bool rules_allow(const struct rules *rules, const char *name, const char *canonical,
                 const struct address *address);

#endif
