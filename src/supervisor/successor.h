// SPDX-License-Identifier: BSD-3-Clause
/*
 * Successor: a process of a device that is ready and waits for its turn. It is in its cell and has
 * made its device, but it has no part in the connection, and has read nothing of the vault.
 */
#ifndef OUTBOARD_SUPERVISOR_SUCCESSOR_H
#define OUTBOARD_SUPERVISOR_SUCCESSOR_H

#include "supervisor/device_life.h"

struct successor {
    struct device_life life;
    int turn_fd;   /* where its turn is told; -1: there is no successor */
    int keeper_fd; /* to its keeper */
};

void successor_init(struct successor *successor);

/* Starts it on the vault behind vault_fd. 0 or a negative errno. */
int successor_start(struct successor *successor, const struct device_life_spec *spec, int vault_fd);

/* Its turn: it continues for the process that owns the vault. 0 or a negative errno, if it has ended. */
int successor_go(struct successor *successor, struct restart *restart);

/* It was told of its turn, and is the caller's from now on. */
struct device_life successor_take(struct successor *successor);

/* Kills it if there is one. */
void successor_end(struct successor *successor);

static inline bool successor_is_there(const struct successor *successor)
{
    return successor->life.child != NULL;
}

#endif
