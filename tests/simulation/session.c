// SPDX-License-Identifier: BSD-3-Clause
/*
 * Simulation of the session protocol: two engines, two applications, a hostile channel, a clock
 * that moves only when told. A schedule is a seed; the same seed is the same run, to the byte.
 *
 * A schedule first does its worst: bytes are lost, changed, repeated and held back, ends are killed
 * and started anew, channels go and come. Then the channel heals, and within a second of simulated
 * time one and the same session must stand at both ends, every stream must be alive at both or over
 * at both, and every byte that was written on a stream that is alive must arrive, first on those
 * that are read, while others are stopped, then on all.
 */
#include "application.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS           1000000ull
#define RECOVER_MS   1000
#define DEFAULT_RUNS 3000

struct world {
    struct ob_session_config config;
    struct application ends[2];
    struct channel channels[2]; /* [i]: from ends[i] to the other */
    bool connected[2];
    struct ledger ledger;
    struct random random;
    uint64_t now;
};

struct totals {
    uint64_t sessions, streams, bytes, slowest_ms;
};

static uint64_t seed_at_hand;

void failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "simulation of the session: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nagain with: --seed %" PRIu64 "\n", seed_at_hand);
    va_end(args);
    exit(1);
}

static uint64_t pick(struct world *world, uint64_t below)
{
    return random_below(&world->random, below);
}

static void connect_end(struct world *world, int which)
{
    if (ob_session_transport_up(world->ends[which].session, world->now) < 0)
        failed("no nonce");
    world->connected[which] = true;
}

static void world_new(struct world *world, uint64_t seed)
{
    static const uint32_t windows[] = {1, 7, 1000, 16384, 65536};
    memset(world, 0, sizeof(*world));
    world->random.state = seed;
    world->now = pick(world, 1000000) * MS;
    world->config = (struct ob_session_config){
        .channel = pick(world, 3) ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM,
        .window = windows[pick(world, 5)],
        .send_buffer = (uint32_t)(1 + pick(world, 40000)),
        .max_streams = (uint32_t)(1 + pick(world, CONNECTIONS)),
        .key = pick(world, 4) ? NULL : "secrets!",
    };
    if (world->config.key)
        world->config.key_len = strlen(world->config.key);
    for (int i = 0; i < 2; i++) {
        world->ends[i].ledger = &world->ledger;
        world->ends[i].random = &world->random;
        world->ends[i].nonces.state = random_next(&world->random);
        application_start(&world->ends[i], &world->config);
        connect_end(world, i);
    }
}

static void world_free(struct world *world)
{
    application_kill(&world->ends[0]);
    application_kill(&world->ends[1]);
    free(world->ledger.records);
}

/* Moves up to len bytes from an engine into its channel. */
static size_t send(struct world *world, int which, size_t len)
{
    struct ob_session *session = world->ends[which].session;
    struct channel *channel = &world->channels[which];
    struct iovec iov[16];
    int count = ob_session_transmit(session, iov, 16, world->now);
    size_t done = 0;
    if (len > channel_room(channel))
        len = channel_room(channel);
    for (int i = 0; i < count && done < len; i++) {
        size_t some = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
        channel_put(channel, iov[i].iov_base, some);
        done += some;
    }
    ob_session_transmitted(session, (ssize_t)done);
    return done;
}

static size_t deliver(struct world *world, int which, size_t len)
{
    uint8_t bytes[8192];
    struct application *end = &world->ends[!which];
    len = channel_take(&world->channels[which], bytes, len < sizeof(bytes) ? len : sizeof(bytes));
    if (world->connected[!which] && application_receive(end, bytes, len, world->now) < 0)
        failed("a channel without faults was found faulty: %s",
               ob_session_fault(end->session)->text);
    memset(bytes, 0xee, len); /* whoever still looks at them finds others */
    return len;
}

static void pass_time(struct world *world, uint64_t ns)
{
    world->now += ns;
    for (int i = 0; i < 2; i++) {
        if (ob_session_deadline(world->ends[i].session) <= world->now)
            ob_session_tick(world->ends[i].session, world->now);
    }
}

/* On a clean channel both ends learn that it went, and nothing of it comes through the next one. */
static void break_channel(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        ob_session_transport_down(world->ends[i].session, world->now);
        world->channels[i].len = 0;
    }
    for (int i = 0; i < 2; i++)
        connect_end(world, i);
}

static void restart(struct world *world, int which)
{
    application_kill(&world->ends[which]);
    application_start(&world->ends[which], &world->config);
    connect_end(world, which);
}

static void misfortune(struct world *world)
{
    int which = (int)pick(world, 2);
    bool line = world->config.channel == OB_CHANNEL_LINE;
    uint64_t kind = pick(world, DAMAGE_KINDS + 4);
    if (kind < DAMAGE_KINDS && line) {
        channel_damage(&world->channels[which], (enum damage)kind, &world->random);
    } else if (kind == DAMAGE_KINDS) {
        restart(world, which);
        if (!line)
            break_channel(world);
    } else if (!line) {
        break_channel(world);
    } else if (world->connected[which]) {
        ob_session_transport_down(world->ends[which].session, world->now);
        world->connected[which] = false;
    } else {
        connect_end(world, which);
    }
}

static size_t some_bytes(struct world *world)
{
    uint64_t kind = pick(world, 4);
    return kind == 0 ? 1 : 1 + pick(world, kind == 1 ? 100 : 20000);
}

static void step(struct world *world, uint64_t one_fault_in)
{
    int which = (int)pick(world, 2);
    uint64_t what = pick(world, 10);
    if (pick(world, one_fault_in) == 0)
        misfortune(world);
    else if (what < 3)
        application_act(&world->ends[which]);
    else if (what < 6)
        send(world, which, some_bytes(world));
    else if (what < 9)
        deliver(world, which, some_bytes(world));
    else
        pass_time(world, pick(world, 20) * MS);
}

static bool agree(const struct world *world)
{
    return world->ends[0].tag && world->ends[0].tag == world->ends[1].tag;
}

/* Carries everything that wants to go, until nothing moves. */
static void flow(struct world *world, bool also_stopped)
{
    size_t moved = 1;
    while (moved) {
        moved = 0;
        for (int i = 0; i < 2; i++) {
            application_read(&world->ends[i], also_stopped);
            moved += send(world, i, CHANNEL_SIZE);
            moved += deliver(world, i, CHANNEL_SIZE);
        }
    }
}

/* The channel is whole from now on. Returns how long it took until both ends agreed. */
static uint64_t heal(struct world *world)
{
    uint64_t agreed_at = 0;
    for (int i = 0; i < 2; i++) {
        if (!world->connected[i])
            connect_end(world, i);
    }
    uint64_t start = world->now;
    while (world->now < start + RECOVER_MS * MS * 2) {
        uint64_t tag = world->ends[0].tag;
        flow(world, false);
        if (!agree(world) || world->ends[0].tag != tag)
            agreed_at = world->now;
        pass_time(world, 10 * MS);
    }
    if (!agree(world))
        failed("no session stands although the channel is whole");
    uint64_t took = agreed_at ? (agreed_at - start) / MS : 0;
    if (took > RECOVER_MS)
        failed("it took %" PRIu64 " ms until a session stood", took);
    return took;
}

static void check_flow(struct world *world)
{
    for (int i = 0; i < 2; i++)
        application_open(&world->ends[i]);
    flow(world, false);
    flow(world, true);
    for (int i = 0; i < 2; i++) {
        application_check_agreement(&world->ends[i]);
        application_check_memory(&world->ends[i], &world->config);
    }
}

static void run(uint64_t seed, struct totals *totals)
{
    struct world world;
    seed_at_hand = seed;
    world_new(&world, seed);
    uint64_t steps = 100 + pick(&world, 600);
    uint64_t one_fault_in = 5 + pick(&world, 300);
    for (uint64_t i = 0; i < steps; i++) {
        step(&world, one_fault_in);
        if (i % 64 == 0) {
            application_check_memory(&world.ends[0], &world.config);
            application_check_memory(&world.ends[1], &world.config);
        }
    }
    uint64_t took = heal(&world);
    check_flow(&world);
    totals->slowest_ms = took > totals->slowest_ms ? took : totals->slowest_ms;
    totals->sessions += world.ends[0].sessions;
    totals->streams += world.ledger.count;
    for (uint32_t i = 0; i < world.ledger.count; i++)
        totals->bytes += world.ledger.records[i].read[0] + world.ledger.records[i].read[1];
    world_free(&world);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"schedules", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"seed", required_argument, NULL, 's'},
        {0},
    };
    uint64_t runs = DEFAULT_RUNS, first = 1;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            runs = strtoull(optarg, NULL, 10);
        else if (option == 'f' || option == 's')
            first = strtoull(optarg, NULL, 10);
        else
            return 2;
        if (option == 's')
            runs = 1;
    }
    if (optind < argc)
        return 2;
    struct totals totals = {0};
    for (uint64_t i = 0; i < runs; i++)
        run(first + i, &totals);
    printf("%" PRIu64 " schedules, %" PRIu64 " sessions, %" PRIu64 " streams, %" PRIu64
           " bytes; slowest recovery %" PRIu64 " ms\n",
           runs, totals.sessions, totals.streams, totals.bytes, totals.slowest_ms);
    return 0;
}
