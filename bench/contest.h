// SPDX-License-Identifier: BSD-3-Clause
/*
 * A contest: a device and its rivals are asked the same, in turns, by one client.
 *
 * All servers run on one processor, so a turn begins when all of them sleep: one that still polls
 * after its own turn would take the processor from the next.
 */
#ifndef OUTBOARD_BENCH_CONTEST_H
#define OUTBOARD_BENCH_CONTEST_H

#include <stdbool.h>

#include "wire.h"

#define CONTEST_RIVALS 3
#define CONTEST_ROUNDS 2000

/* A remote device, or what stands in for one. */
struct bench_peer {
    struct bench_process process;
    struct bench_exchange exchanges[BENCH_ACCESS_COUNT];
};

/* Medians of all rounds. */
struct contest_result {
    double ratio; /* of the device's time to the rival's in the same round */
    double device_us;
    double rival_us;
};

struct contest_rival {
    const char *name;
    struct bench_peer peer;
    /* What is asked of the device: to take at most so many times as long; or, of a rival that is
     * slower, that this one takes at least so many times as long. */
    double target;
    bool slower;
    struct contest_result results[BENCH_ACCESS_COUNT];
};

struct contest {
    const char *mode;
    bool polls; /* the client does */
    struct bench_peer device;
    struct contest_rival rivals[CONTEST_RIVALS];
    unsigned count; /* of rivals */
};

void contest_add(struct contest *contest, const struct contest_rival *rival);
/* Fills the results. */
void contest_run(struct contest *contest, unsigned rounds);
/* Ends the device and the rivals that the bench has started. */
void contest_end(struct contest *contest);

/* A table for people on stderr, and members of a JSON object on stdout, each followed by a comma.
 */
void contest_print_table(const struct contest *contest);
void contest_print_json(const struct contest *contest);
/* A line of that table. */
void contest_print_row(const char *what, double value, const char *unit, double target,
                       bool at_most);

#endif
