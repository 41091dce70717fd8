// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bare ping-pong that a round trip to a device is compared to: a process that does nothing but
 * take a message and send another, of the sizes of mpqemu's accesses.
 */
#ifndef OUTBOARD_BENCH_PONG_H
#define OUTBOARD_BENCH_PONG_H

#include <stdbool.h>

#include "process.h"

/* Starts the other end. It polls for a while after each message, or not at all. */
struct bench_process pong_start(bool polls, int processor);

/* Microseconds of one round trip, on average over count of them, from an end that does likewise. */
double pong_round_trip_us(const struct bench_process *pong, bool polls, unsigned count);

#endif
