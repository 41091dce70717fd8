// SPDX-License-Identifier: BSD-3-Clause
/*
 * The handshake with a key, and an attacker without one.
 *
 * Two ends greet over a line that the attacker carries: it delivers, keeps, repeats, reorders and
 * drops what they say, resumes either end a second time from any point (a fork), and restarts ends.
 * A fork is made by doing again what the end has done, with the same random numbers up to there and
 * others from there on, which is what a snapshot of a virtual machine is.
 *
 * Invariants, whatever it does:
 * - an end stands only in a session that its peer has a part in: no end but those with the key ever
 *   has that tag, and the other side of it was alive after the fork;
 * - of two clones of one snapshot that were in no session then, at most one stands in a session
 *   with a given life of the peer, unless the snapshot was taken between that peer's greeting and
 *   its proof;
 * - a session that stands is not ended by what proves nothing: only by a peer that stands too.
 *
 * An input is a list of deeds, two bytes each.
 */
#include "base/limits.h"
#include "wire/session_wire.h"

#include <outboard/session.h>
#include <string.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES 48
#define BYTES    512
#define INPUTS   256

/* What an end has been given, so that it can be done again. */
struct life {
    struct ob_session *session;
    uint64_t seed, draws;
    uint64_t fork_draws; /* from this draw on the numbers are another clone's; UINT64_MAX: never */
    uint64_t tag;
    unsigned ups, ends;
    uint8_t given[INPUTS]; /* messages, by their index */
    int count;
};

struct message {
    uint8_t bytes[BYTES];
    size_t len;
};

struct world {
    struct life ends[2];
    struct message messages[MESSAGES]; /* all that was said, which the attacker keeps */
    int said;
    uint64_t now;
};

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccdull;
    return value ^ value >> 29;
}

static int draw(void *user, void *bytes, size_t len)
{
    struct life *life = user;
    uint64_t twin = life->draws >= life->fork_draws ? 0x5555 : 0;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)mix((life->seed + twin) * 1000003 + life->draws * 64 + i);
    life->draws++;
    return 0;
}

static void on_up(void *user, uint64_t tag)
{
    struct life *life = user;
    life->tag = tag;
    life->ups++;
}

static void on_ended(void *user, uint32_t reason)
{
    struct life *life = user;
    life->ends++;
    life->tag = 0;
}

static void begin(struct life *life, uint64_t seed, uint64_t fork_draws)
{
    *life = (struct life){.seed = seed, .fork_draws = fork_draws};
    const struct ob_session_config config = {.size = sizeof(config),
                                             .channel = OB_CHANNEL_LINE,
                                             .events = {.up = on_up, .ended = on_ended},
                                             .user = life,
                                             .random = draw,
                                             .key = "open sesame",
                                             .key_len = 11};
    CHECK(ob_session_new(&config, &life->session) == 0);
    CHECK(ob_session_transport_up(life->session, 0) == 0);
}

/* What the end says now goes to the attacker. */
static void listen_to(struct world *world, struct life *life)
{
    while (ob_session_has_output(life->session)) {
        struct iovec iov[4];
        struct message message = {.len = 0};
        int count = ob_session_transmit(life->session, iov, 4, world->now);
        for (int i = 0; i < count; i++) {
            CHECK(message.len + iov[i].iov_len <= BYTES);
            memcpy(message.bytes + message.len, iov[i].iov_base, iov[i].iov_len);
            message.len += iov[i].iov_len;
        }
        ob_session_transmitted(life->session, (ssize_t)message.len);
        if (world->said < MESSAGES)
            world->messages[world->said++] = message;
    }
}

static void give(struct world *world, struct life *life, int which)
{
    const struct message *message = &world->messages[which];
    unsigned ups = life->ups, ends = life->ends;
    uint64_t before = life->tag;
    if (life->count == INPUTS)
        return;
    life->given[life->count++] = (uint8_t)which;
    CHECK(ob_session_receive(life->session, message->bytes, message->len, world->now) == 0);
    /* Nothing but a new session ends one that stands. */
    CHECK(life->ends == ends || life->ups > ups || before == 0);
    CHECK(life->tag == 0 || life->tag != before || life->ups == ups);
}

/* Resumes an end from a snapshot of when it had heard so many messages, and replays what it has
 * heard since: the clone does not believe it. */
static void fork_and_replay(struct world *world, const struct life *life, int at)
{
    struct life clone;
    if (at > life->count)
        at = life->count;
    begin(&clone, life->seed, life->fork_draws);
    for (int i = 0; i < at; i++) {
        struct message *heard = &world->messages[life->given[i]];
        CHECK(ob_session_receive(clone.session, heard->bytes, heard->len, 0) == 0);
    }
    /* A snapshot amid a handshake, or of a session, tells its clones nothing; see the text of the
     * protocol. So the others only: nobody was heard of. */
    if (clone.draws == 1 && clone.ups == 0) {
        clone.fork_draws = clone.draws;
        for (int round = 0; round < 2; round++)
            for (int i = 0; i < world->said; i++)
                CHECK(ob_session_receive(clone.session, world->messages[i].bytes,
                                         world->messages[i].len, 0) == 0);
        CHECK(clone.ups == 0);
    }
    ob_session_free(clone.session);
}

/* Changes a byte of what was said: damage to some, a forgery to others. */
static void forge(struct world *world, int which, uint8_t at)
{
    struct message *message = &world->messages[which];
    if (message->len > 0 && world->said < MESSAGES) {
        world->messages[world->said] = *message;
        world->messages[world->said].bytes[at % message->len] ^= (uint8_t)(1 + at / 16);
        /* It may break a frame, which ends a session on a line; so it is for who greets only. */
        for (int i = 0; i < 2; i++)
            if (world->ends[i].tag == 0)
                give(world, &world->ends[i], world->said);
        world->messages[world->said].len = 0;
    }
}

static void check(const struct world *world)
{
    /* Who stands has a peer that stands, or stood, with the very same tag: nobody else can. */
    const struct life *a = &world->ends[0], *b = &world->ends[1];
    if (a->tag && b->tag && a->ups == 1 && b->ups == 1)
        CHECK(a->tag == b->tag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    world = (struct world){.said = 0};
    begin(&world.ends[0], 1, UINT64_MAX);
    begin(&world.ends[1], 2, UINT64_MAX);
    for (size_t i = 0; i + 1 < size; i += 2) {
        struct life *life = &world.ends[data[i] & 1];
        int which = world.said ? data[i + 1] % world.said : -1;
        switch (data[i] >> 1 & 7) {
        case 0:
        case 1:
            listen_to(&world, life);
            break;
        case 2:
            fork_and_replay(&world, life, data[i + 1]);
            break;
        case 3:
            world.now += data[i + 1] * 4000000ull;
            ob_session_tick(life->session, world.now);
            break;
        case 4:
            if (which >= 0)
                forge(&world, which, data[i + 1]);
            break;
        default:
            if (which >= 0)
                give(&world, life, which);
            break;
        }
        check(&world);
    }
    ob_session_free(world.ends[0].session);
    ob_session_free(world.ends[1].session);
    return 0;
}
