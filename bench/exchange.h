// SPDX-License-Identifier: BSD-3-Clause
/* The client of the register bench, a plain send and a plain receive, and the bare ping-pong. */
#ifndef OUTBOARD_BENCH_EXCHANGE_H
#define OUTBOARD_BENCH_EXCHANGE_H

#include <stdbool.h>

#include "wire.h"

/* Sends a request and takes its reply. polls: never sleeps while it waits. */
void bench_round_trip(int fd, const struct bench_exchange *exchange, bool polls,
                      uint8_t *ret_reply);

/* Microseconds of one round trip, on average over a burst of them that follows a warm-up. */
double bench_burst_us(int fd, const struct bench_exchange *exchange, bool polls);

/* What the bare ping-pong's other end does. */
struct bench_pong {
    bool polls; /* for a while after each message */
    size_t reply_len;
};

/* Receives a message and sends one, until the socket is closed: a struct bench_pong says how. */
void bench_pong(int fd, const void *how);

#endif
