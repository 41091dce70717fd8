// SPDX-License-Identifier: BSD-3-Clause
/*
 * A wire as the register bench speaks it: the messages that read a register, and what a VMM says
 * before them. Sending and receiving is the same for all: exchange.c.
 */
#ifndef OUTBOARD_BENCH_WIRE_H
#define OUTBOARD_BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "process.h"

#define BENCH_REQUEST_MAX 512u
#define BENCH_REPLY_MAX   512u

/* The accesses that are measured. Their replies are of one length. */
enum bench_access {
    BENCH_CONFIG_READ, /* at offset 0 */
    BENCH_BAR_READ,
    BENCH_ACCESS_COUNT,
};

/* What a BAR read reads. */
struct bench_register {
    unsigned bar;
    uint32_t offset;
    uint32_t size; /* bytes: 1, 2, 4 or 8 */
};

/* A request, and how long the reply to it is. */
struct bench_exchange {
    uint8_t request[BENCH_REQUEST_MAX];
    size_t request_len;
    size_t reply_len;
};

struct bench_wire {
    const char *name; /* as in --wire= */
    /* Does what a VMM does before a driver uses the device. Ends the bench when the device does not
     * answer at the register. */
    void (*set_up)(const struct bench_process *process, const struct bench_register *where);
    /* Makes the messages of an access. */
    void (*make)(enum bench_access access, const struct bench_register *where,
                 struct bench_exchange *ret_exchange);
};

extern const struct bench_wire bench_mpqemu;
extern const struct bench_wire bench_vfio_user;

#endif
