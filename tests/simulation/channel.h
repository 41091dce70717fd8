// SPDX-License-Identifier: BSD-3-Clause
/*
 * A hostile channel: one direction of bytes in flight, and everything that may happen to them.
 * Every byte ever carried is remembered for a while, so that bytes of an earlier life can come
 * again.
 */
#ifndef OUTBOARD_TESTS_SIMULATION_CHANNEL_H
#define OUTBOARD_TESTS_SIMULATION_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_SIZE  32768
#define CHANNEL_STALE 4096

struct channel {
    uint8_t bytes[CHANNEL_SIZE];
    size_t len;
    uint8_t stale[CHANNEL_STALE]; /* what was carried last */
    size_t stale_len;
};

struct random {
    uint64_t state;
};

uint64_t random_next(struct random *random);
/* 0 to below - 1. */
uint64_t random_below(struct random *random, uint64_t below);

/* How many bytes the channel would take. */
size_t channel_room(const struct channel *channel);
void channel_put(struct channel *channel, const uint8_t *bytes, size_t len);
/* Takes up to len bytes off the front. */
size_t channel_take(struct channel *channel, uint8_t *bytes, size_t len);

enum damage {
    DAMAGE_LOSE_TAIL,   /* some of the last bytes never arrive */
    DAMAGE_LOSE_MIDDLE, /* a gap */
    DAMAGE_FLIP,        /* one byte changes */
    DAMAGE_NOISE,       /* bytes that nobody sent */
    DAMAGE_STALE,       /* bytes of earlier, again */
    DAMAGE_LOSE_ALL,
    DAMAGE_KINDS,
};

void channel_damage(struct channel *channel, enum damage damage, struct random *random);

#endif
