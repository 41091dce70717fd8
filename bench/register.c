// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a register access costs: the round trip of a configuration read and of a BAR read to the
 * real outboard-backdoor over its socket.
 *
 * Three modes, each a contest with what it is compared to:
 *   polling   both ends poll              against a bare ping-pong whose ends poll
 *   blocking  both ends block             against a bare ping-pong whose ends block
 *   default   the device's own options,   over mpqemu against QEMU's x-remote
 *             a client that blocks
 * Over vfio-user each mode is also a contest with the same device over mpqemu, and with --peer=PATH
 * blocking and default are contests with the vfio-user server that listens there, as is a fourth,
 * default_polled, whose client polls. --register=BAR:OFFSET:SIZE is what is read of that server;
 * the device is asked for as many bytes.
 *
 * The bare ping-pong is two processes that do nothing but send and receive messages of these sizes.
 * All clients are this process: a plain send and a plain receive. With --processors=2, which is the
 * default, client and server are bound to a processor each, with 1 both to the same one: where the
 * scheduler happens to put two processes decides more about a round trip than what they do.
 *
 * Then the time from the start of a program to its READY=1, and what memory it has when it serves.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contest.h"
#include "peers.h"
#include "ready.h"
#include "statistics.h"

#define STARTS 20

enum mode {
    POLLING,
    BLOCKING,
    DEFAULT,
    DEFAULT_POLLED,
    MODE_COUNT,
};

static const struct {
    const char *name;
    bool polls; /* the client does */
    const char *options[PEERS_OPTIONS];
    bool over_floor;
    double over_given; /* a server that is given takes at least so many times as long; 0: not asked
                        */
} modes[MODE_COUNT] = {
    [POLLING] = {"polling", true, {"--poll-us=1000"}, .over_floor = true},
    [BLOCKING] = {"blocking", false, {"--poll-us=0"}, .over_floor = true, .over_given = 1.3},
    [DEFAULT] = {"default", false, {NULL}, .over_given = 2.5},
    [DEFAULT_POLLED] = {"default_polled", true, {NULL}, .over_given = 4},
};

struct setup {
    struct peers peers;
    const struct bench_wire *wire;
    const char *given; /* --peer, or NULL */
    struct bench_register given_register;
    unsigned rounds;
    const char *placement; /* --processors */
    int client;            /* the processor */
};

/* What the bench finds. */
struct findings {
    struct contest contests[MODE_COUNT];
    unsigned count; /* of contests */
    double ready_ms;
    struct bench_memory device, qemu;
};

static bool is_mpqemu(const struct setup *setup)
{
    return setup->wire == &bench_mpqemu;
}

static void add_rivals(struct contest *contest, const struct setup *setup, enum mode mode,
                       const struct bench_peer *given)
{
    if (modes[mode].over_floor)
        contest_add(contest, &(struct contest_rival){
                                 .name = "floor",
                                 .peer = peers_floor(&setup->peers, setup->wire, contest->polls),
                                 .target = 1.3});
    if (is_mpqemu(setup) && mode == DEFAULT)
        contest_add(contest, &(struct contest_rival){.name = "x_remote",
                                                     .peer = peers_qemu(&setup->peers),
                                                     .target = 2,
                                                     .slower = true});
    if (!is_mpqemu(setup))
        contest_add(contest,
                    &(struct contest_rival){
                        .name = "mpqemu",
                        .peer = peers_device(&setup->peers, &bench_mpqemu, modes[mode].options),
                        .target = 1.05});
    if (given && modes[mode].over_given > 0)
        contest_add(contest, &(struct contest_rival){.name = "peer",
                                                     .peer = *given,
                                                     .target = modes[mode].over_given,
                                                     .slower = true});
}

/* Also tells what memory a device has after all that it did, and x-remote. */
static void hold_contest(struct findings *findings, const struct setup *setup, enum mode mode,
                         const struct bench_peer *given)
{
    struct contest *contest = &findings->contests[findings->count++];
    *contest =
        (struct contest){.mode = modes[mode].name,
                         .polls = modes[mode].polls,
                         .device = peers_device(&setup->peers, setup->wire, modes[mode].options)};
    add_rivals(contest, setup, mode, given);
    contest_run(contest, setup->rounds);
    if (mode == DEFAULT) {
        findings->device = bench_memory_of(contest->device.process.pid);
        if (is_mpqemu(setup))
            findings->qemu = bench_memory_of(contest->rivals[0].peer.process.pid);
    }
    contest_end(contest);
}

static void hold_contests(struct findings *findings, const struct setup *setup)
{
    struct bench_peer given;
    if (setup->given)
        given = peers_given(&setup->peers, setup->wire, setup->given, &setup->given_register);
    for (enum mode mode = 0; mode < MODE_COUNT; mode++)
        if (setup->given || mode != DEFAULT_POLLED)
            hold_contest(findings, setup, mode, setup->given ? &given : NULL);
    if (setup->given)
        bench_end(&given.process); /* not before: many a server ends with its client */
}

/* Milliseconds from the start of the program to its READY=1, the median of some starts. */
static double measure_ready_ms(const struct setup *setup)
{
    double ms[STARTS];
    struct bench_ready ready;
    bench_ready_open(&ready);
    for (int i = 0; i < STARTS; i++) {
        struct bench_process device =
            peers_start_device(&setup->peers, setup->wire, modes[DEFAULT].options, ready.path);
        ms[i] = bench_ready_wait(&ready, &device);
        bench_end(&device);
    }
    bench_ready_close(&ready);
    return statistics_median(ms, STARTS);
}

static double mib(unsigned long kib)
{
    return (double)kib / 1024;
}

static void print_table(const struct findings *findings)
{
    for (unsigned i = 0; i < findings->count; i++)
        contest_print_table(&findings->contests[i]);
    contest_print_row("start to READY", findings->ready_ms, "ms", 10, true);
    contest_print_row("private memory", mib(findings->device.private_kib), "MiB", 1, true);
    contest_print_row("resident memory", mib(findings->device.resident_kib), "MiB", 4, true);
    if (findings->qemu.resident_kib > 0)
        fprintf(stderr, "%-48s %8.2f MiB private, %.2f MiB resident\n", "x-remote",
                mib(findings->qemu.private_kib), mib(findings->qemu.resident_kib));
}

static void print_json(const struct setup *setup, const struct findings *findings)
{
    printf("{\"bench\": \"register\", \"wire\": \"%s\", \"rounds\": %u, \"processors\": \"%s\", ",
           setup->wire->name, setup->rounds, setup->placement);
    for (unsigned i = 0; i < findings->count; i++)
        contest_print_json(&findings->contests[i]);
    if (findings->qemu.resident_kib > 0)
        printf("\"x_remote_private_kib\": %lu, \"x_remote_resident_kib\": %lu, ",
               findings->qemu.private_kib, findings->qemu.resident_kib);
    printf("\"ready_ms\": %.3f, \"private_kib\": %lu, \"resident_kib\": %lu}\n", findings->ready_ms,
           findings->device.private_kib, findings->device.resident_kib);
}

static void run(const struct setup *setup)
{
    struct findings findings = {0};
    bench_bind(setup->client);
    findings.ready_ms = measure_ready_ms(setup);
    hold_contests(&findings, setup);
    print_table(&findings);
    print_json(setup, &findings);
}

static void usage(void)
{
    fputs("usage: register --device=PATH --library=PATH [--wire=mpqemu|vfio-user] [--qemu=PATH]\n"
          "       [--rounds=N] [--processors=2|1|any] [--peer=PATH [--register=BAR:OFFSET:SIZE]]\n",
          stderr);
    exit(2);
}

static bool choose_wire(struct setup *setup, const char *name)
{
    setup->wire = strcmp(name, "vfio-user") == 0 ? &bench_vfio_user : &bench_mpqemu;
    return strcmp(name, setup->wire->name) == 0;
}

/* What is read of the given server. The device's BAR 0 is its control register, at which reads of
 * each size are the same. */
static bool choose_register(struct setup *setup, const char *text)
{
    struct bench_register *given = &setup->given_register;
    int end = 0;
    if (sscanf(text, "%u:%i:%u%n", &given->bar, (int *)&given->offset, &given->size, &end) != 3)
        return false;
    setup->peers.where.size = given->size;
    return text[end] == '\0' && given->size >= 1 && given->size <= 8;
}

static bool place(struct setup *setup, const char *placement)
{
    struct bench_processors two = bench_two_processors();
    setup->placement = placement;
    if (strcmp(placement, "1") == 0)
        two.server = two.client;
    else if (strcmp(placement, "any") == 0)
        two.client = two.server = -1;
    else if (strcmp(placement, "2") != 0)
        return false;
    setup->client = two.client;
    setup->peers.processor = two.server;
    return true;
}

static bool apply(struct setup *setup, int option, const char *value)
{
    switch (option) {
    case 'd':
        setup->peers.device = value;
        return true;
    case 'l':
        setup->peers.library = value;
        return true;
    case 'q':
        setup->peers.qemu = value;
        return true;
    case 'r':
        setup->rounds = (unsigned)strtoul(value, NULL, 10);
        return setup->rounds >= 1 && setup->rounds <= CONTEST_ROUNDS;
    case 'p':
        return place(setup, value);
    case 'w':
        return choose_wire(setup, value);
    case 'g':
        setup->given = value;
        return choose_register(setup, "0:0:8");
    case 'x':
        return setup->given && choose_register(setup, value);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'},
        {"library", required_argument, NULL, 'l'},
        {"qemu", required_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},
        {"processors", required_argument, NULL, 'p'},
        {"wire", required_argument, NULL, 'w'},
        {"peer", required_argument, NULL, 'g'},
        {"register", required_argument, NULL, 'x'},
        {0},
    };
    struct setup setup = {.peers = {.qemu = "qemu-system-x86_64", .where = {.size = 4}},
                          .wire = &bench_mpqemu,
                          .rounds = 200};
    bool good = place(&setup, "2");
    int value;
    while ((value = getopt_long(argc, argv, "", options, NULL)) != -1)
        good = good && apply(&setup, value, optarg);
    if (!good || optind < argc || !setup.peers.device || !setup.peers.library ||
        (setup.given && is_mpqemu(&setup)))
        usage();
    run(&setup);
    return 0;
}
