// SPDX-License-Identifier: BSD-3-Clause
#include "channel.h"

#include <string.h>

uint64_t random_next(struct random *random)
{
    uint64_t value = random->state += 0x9e3779b97f4a7c15ull;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

uint64_t random_below(struct random *random, uint64_t below)
{
    return random_next(random) % below;
}

size_t channel_room(const struct channel *channel)
{
    return sizeof(channel->bytes) - channel->len;
}

void channel_put(struct channel *channel, const uint8_t *bytes, size_t len)
{
    memcpy(channel->bytes + channel->len, bytes, len);
    channel->len += len;
}

static void remember(struct channel *channel, const uint8_t *bytes, size_t len)
{
    if (len > sizeof(channel->stale)) {
        bytes += len - sizeof(channel->stale);
        len = sizeof(channel->stale);
    }
    size_t kept = sizeof(channel->stale) - len;
    if (kept > channel->stale_len)
        kept = channel->stale_len;
    memmove(channel->stale, channel->stale + channel->stale_len - kept, kept);
    memcpy(channel->stale + kept, bytes, len);
    channel->stale_len = kept + len;
}

size_t channel_take(struct channel *channel, uint8_t *bytes, size_t len)
{
    if (len > channel->len)
        len = channel->len;
    memcpy(bytes, channel->bytes, len);
    remember(channel, bytes, len);
    channel->len -= len;
    memmove(channel->bytes, channel->bytes + len, channel->len);
    return len;
}

static void cut(struct channel *channel, size_t at, size_t len)
{
    memmove(channel->bytes + at, channel->bytes + at + len, channel->len - at - len);
    channel->len -= len;
}

static void insert(struct channel *channel, size_t at, const uint8_t *bytes, size_t len)
{
    if (len > channel_room(channel))
        len = channel_room(channel);
    memmove(channel->bytes + at + len, channel->bytes + at, channel->len - at);
    memcpy(channel->bytes + at, bytes, len);
    channel->len += len;
}

static void add_noise(struct channel *channel, struct random *random)
{
    uint8_t noise[64];
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)(random_next(random) >> (random_below(random, 8) * 8));
    insert(channel, random_below(random, channel->len + 1), noise,
           1 + random_below(random, sizeof(noise)));
}

static void add_stale(struct channel *channel, struct random *random)
{
    size_t from = random_below(random, channel->stale_len + 1);
    insert(channel, random_below(random, 2) ? 0 : channel->len, channel->stale + from,
           channel->stale_len - from);
}

void channel_damage(struct channel *channel, enum damage damage, struct random *random)
{
    size_t len = random_below(random, channel->len + 1);
    switch (damage) {
    case DAMAGE_LOSE_TAIL:
        channel->len -= len;
        break;
    case DAMAGE_LOSE_MIDDLE:
        cut(channel, random_below(random, channel->len - len + 1), len);
        break;
    case DAMAGE_FLIP:
        if (channel->len)
            channel->bytes[random_below(random, channel->len)] ^=
                (uint8_t)(1 + random_below(random, 255));
        break;
    case DAMAGE_NOISE:
        add_noise(channel, random);
        break;
    case DAMAGE_STALE:
        add_stale(channel, random);
        break;
    case DAMAGE_LOSE_ALL:
        channel->len = 0;
        break;
    case DAMAGE_KINDS:
        break;
    }
}
