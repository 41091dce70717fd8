// SPDX-License-Identifier: BSD-3-Clause
/*
 * Life: one of several device processes that serve the same device after each other, if its launcher
 * has given it a vault ($OUTBOARD_VAULT, base/vault_head.h).
 *
 * Open: the vault is mapped, and locked where system calls write. Behind the cell's stages, before
 * any thread, the process gets its keeper.
 *
 * Wait: the launcher may have started a successor while the process before still serves. When its
 * device has been made, it waits for its turn.
 *
 * Take over: when the device has been made, a successor counts the last calls of the process before.
 * It gets the descriptors from that one's keeper, writes their numbers into its column, and becomes
 * the owner. Until that store it has changed nothing that counts, so another successor can begin
 * again.
 */
#ifndef OUTBOARD_PROGRAM_LIFE_H
#define OUTBOARD_PROGRAM_LIFE_H

#include <stdbool.h>

#include "device/device_vault.h"
#include "os/counted.h"
#include "sandbox/confine.h"
#include "server/engine.h"

struct life {
    struct vault *vault; /* NULL: this process is the only one */
    struct vault_shared *shared;
    uint64_t number;
    size_t mapped; /* bytes from `shared` on */
    int vault_fd, keeper_fd, before_fd;
    bool poisoned;
    uint64_t silent_ns; /* since when no process serves; 0: in the first life */
    bool waits;         /* for its turn: before_fd is where it comes */
    bool resumes;       /* a connection is there */
    struct engine_past past;
    struct engine_past_fd fds[COUNTED_FDS];
};

/* Looks whether there is a vault, and maps it. 0 or a negative errno with the fault filled. */
int life_open(struct life *life, struct ob_fault *fault);
/* In the cell, before the first thread. */
int life_start_keeper(struct life *life, struct confinement *cell, struct ob_fault *fault);
/* Waits until the process before has died or stands still. 0, or -ECANCELED with the fault filled when
 * the launcher has no use for this process. */
int life_wait(struct life *life, struct ob_fault *fault);
/* The device has been made, and it is this process's turn: it begins in its vault, or takes the vault over. */
int life_take_over(struct life *life, struct ob_device *device, struct ob_fault *fault);

/* The connection that a successor serves further: its descriptor, which is the caller's, and number of
 * its wire in greeting_wires. -EINVAL with the fault filled. */
int life_connection(const struct life *life, unsigned *ret_wire, struct ob_fault *fault);
/* An engine serves this connection from now on. */
void life_connect(const struct life *life, int fd, unsigned wire);
/* The counts of its calls. */
struct counted *life_counted(const struct vault *vault);

void life_end(struct life *life);

#endif
