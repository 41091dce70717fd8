// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first bytes of a vault (src/device/vault.h), as the supervisor reads them with pread(2). They
 * were written by a device process, which may have been taken over: nothing of them is trusted.
 */
#ifndef OUTBOARD_BASE_VAULT_HEAD_H
#define OUTBOARD_BASE_VAULT_HEAD_H

#include <stdint.h>

/* The environment variable of a device process that has a vault, six numbers: the vault's descriptor, that of its
 * keeper's channel, that of the channel to the keeper of the process before or -1, the number of its
 * life from 1 on, whether the next message has killed each process that looked at it, and since when no process
 * serves (CLOCK_MONOTONIC in ns; 0 in the first life).
 *
 * If the number is 0, the process is to be ready and to wait. Its third descriptor is then a
 * SOCK_SEQPACKET socket. The message that lets it continue is a struct vault_turn, with the channel to
 * the keeper of the process before. */
#define VAULT_VARIABLE "OUTBOARD_VAULT"
#define VAULT_FORMAT   "%d,%d,%d,%llu,%d,%llu"

struct vault_turn {
    uint64_t number;
    uint64_t silent_ns; /* since when no process serves */
    uint32_t poisoned, reserved;
};

struct vault_head {
    uint32_t magic, version;
    uint64_t len;
    uint64_t owner;     /* number of the process's life << 1 | column */
    uint64_t committed; /* sequence number */
    uint64_t progress;  /* counts the messages that were done, roughly */
    uint64_t looking;   /* progress + 1 while a message is looked at */
};

#endif
