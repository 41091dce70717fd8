// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a vault costs: register accesses to a device whose state outlives its process, against the
 * same program without a vault, in turns.
 *
 * A vault is made here as `outboard run` makes it (src/supervisor/restart.h). Processes come in
 * pairs, since each has its luck with the addresses that it gets; what counts is the median of all
 * pairs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/vault_head.h"
#include "contest.h"
#include "peers.h"
#include "statistics.h"

#define PAIRS      5
#define ROUNDS     100 /* of each pair */
#define MOST       1.1
#define FIRST_FREE 20 /* above the numbers that a device process has of its own */

static const struct {
    const char *name, *option;
    bool polls;
} modes[] = {{"polling", "--poll-us=1000", true},
             {"blocking", "--poll-us=0", false},
             {"default", NULL, false}};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static int inheritable(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD, FIRST_FREE);
    if (high < 0)
        bench_die("can't make a vault: %s", strerror(errno));
    close(fd);
    return high;
}

static struct bench_process start(char *const argv[], int processor, bool with_vault)
{
    char variable[64];
    int ends[2];
    if (!with_vault)
        return bench_start(argv, processor, NULL);
    int vault = inheritable(memfd_create("bench-vault", MFD_ALLOW_SEALING));
    if (ftruncate(vault, LIMIT_VAULT_BYTES) < 0 ||
        fcntl(vault, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        bench_die("can't make a vault: %s", strerror(errno));
    int keeper = inheritable(ends[1]); /* ends[0] stays open: the keeper ends with it */
    snprintf(variable, sizeof(variable), VAULT_FORMAT, vault, keeper, -1, 1ull, 0, 0ull);
    setenv(VAULT_VARIABLE, variable, 1);
    struct bench_process process = bench_start(argv, processor, NULL);
    unsetenv(VAULT_VARIABLE);
    close(vault);
    close(keeper);
    return process;
}

static struct bench_peer serve(const char *device, const struct bench_wire *wire,
                               const char *option, int processor, bool with_vault)
{
    static const struct bench_register where = {.size = 4};
    char wire_option[64];
    snprintf(wire_option, sizeof(wire_option), "--wire=%s", wire->name);
    char *argv[] = {(char *)device, "--fd=3", wire_option, (char *)option, NULL};
    struct bench_peer peer = {.process = start(argv, processor, with_vault)};
    wire->set_up(&peer.process, &where);
    for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++)
        wire->make(access, &where, &peer.exchanges[access]);
    return peer;
}

/* Medians of the pairs' medians: a ratio and two times. */
struct finding {
    double ratio, with_us, without_us;
};

static struct finding measure(const char *device, const struct bench_wire *wire, unsigned mode,
                              int processor)
{
    double ratio[PAIRS], with_us[PAIRS], without_us[PAIRS];
    for (unsigned pair = 0; pair < PAIRS; pair++) {
        struct contest contest = {.mode = modes[mode].name,
                                  .polls = modes[mode].polls,
                                  .device =
                                      serve(device, wire, modes[mode].option, processor, true)};
        contest_add(&contest, &(struct contest_rival){
                                  .name = "without",
                                  .peer = serve(device, wire, modes[mode].option, processor, false),
                                  .target = MOST});
        contest_run(&contest, ROUNDS);
        const struct contest_result *result = &contest.rivals[0].results[BENCH_BAR_READ];
        ratio[pair] = result->ratio;
        with_us[pair] = result->device_us;
        without_us[pair] = result->rival_us;
        contest_end(&contest);
    }
    return (struct finding){.ratio = statistics_median(ratio, PAIRS),
                            .with_us = statistics_median(with_us, PAIRS),
                            .without_us = statistics_median(without_us, PAIRS)};
}

int main(int argc, char **argv)
{
    static const struct bench_wire *const wires[] = {&bench_mpqemu, &bench_vfio_user};
    if (argc != 2) {
        fprintf(stderr, "usage: bench-vault DEVICE\n");
        return 2;
    }
    const struct bench_processors processors = bench_two_processors();
    bench_bind(processors.client);
    printf("{\"bench\": \"vault\"");
    for (unsigned i = 0; i < 2; i++)
        for (unsigned mode = 0; mode < MODES; mode++) {
            char what[64];
            struct finding found = measure(argv[1], wires[i], mode, processors.server);
            snprintf(what, sizeof(what), "BAR read, %s, %s, over no vault", wires[i]->name,
                     modes[mode].name);
            contest_print_row(what, found.ratio, "x", MOST, true);
            fprintf(stderr, "%-48s %8.2f us against %.2f us\n", "", found.with_us,
                    found.without_us);
            printf(", \"%s_%s\": %.3f", wires[i]->name, modes[mode].name, found.ratio);
        }
    printf("}\n");
    return 0;
}
