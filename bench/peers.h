// SPDX-License-Identifier: BSD-3-Clause
/* Whom the register bench asks: a device program, and what it is compared with. */
#ifndef OUTBOARD_BENCH_PEERS_H
#define OUTBOARD_BENCH_PEERS_H

#include "contest.h"

/* How to start them. */
struct peers {
    const char *device;  /* the program outboard-backdoor */
    const char *library; /* its callbacks */
    const char *qemu;
    int processor;               /* where they run; -1: anywhere */
    struct bench_register where; /* what is read of the device, in BAR 0 */
};

#define PEERS_OPTIONS 2

/* outboard-backdoor. options: more of them, up to the first that is NULL. notify_path as in
 * bench_start(). */
struct bench_process peers_start_device(const struct peers *peers, const struct bench_wire *wire,
                                        const char *const options[PEERS_OPTIONS],
                                        const char *notify_path);
/* The same, ready to be asked. */
struct bench_peer peers_device(const struct peers *peers, const struct bench_wire *wire,
                               const char *const options[PEERS_OPTIONS]);
/* QEMU's x-remote with a 53C895A, over mpqemu. */
struct bench_peer peers_qemu(const struct peers *peers);
/* The bare ping-pong, with messages of the same sizes. */
struct bench_peer peers_floor(const struct peers *peers, const struct bench_wire *wire, bool polls);
/* A server that listens at a path. */
struct bench_peer peers_given(const struct peers *peers, const struct bench_wire *wire,
                              const char *path, const struct bench_register *where);

#endif
