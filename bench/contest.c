// SPDX-License-Identifier: BSD-3-Clause
#include "contest.h"

#include <stdio.h>

#include "exchange.h"
#include "statistics.h"

void contest_add(struct contest *contest, const struct contest_rival *rival)
{
    if (contest->count == CONTEST_RIVALS)
        bench_die("no room for another rival");
    contest->rivals[contest->count++] = *rival;
}

/* The device is 0, the rivals follow. */
static const struct bench_peer *peer_of(const struct contest *contest, unsigned number)
{
    return number == 0 ? &contest->device : &contest->rivals[number - 1].peer;
}

static double take_turn(const struct contest *contest, unsigned number, enum bench_access access)
{
    const struct bench_peer *peer = peer_of(contest, number);
    for (unsigned i = 0; i <= contest->count; i++)
        bench_wait_asleep(peer_of(contest, i)->process.pid);
    return bench_burst_us(peer->process.fd, &peer->exchanges[access], contest->polls);
}

static void measure(struct contest *contest, unsigned rounds, enum bench_access access)
{
    static double us[1 + CONTEST_RIVALS][CONTEST_ROUNDS], scratch[CONTEST_ROUNDS];
    const unsigned peers = 1 + contest->count;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < peers; i++) {
            unsigned number = (round + i) % peers;
            us[number][round] = take_turn(contest, number, access);
        }
    }
    for (unsigned i = 0; i < contest->count; i++)
        contest->rivals[i].results[access].ratio =
            statistics_median_ratio(us[0], us[1 + i], scratch, rounds);
    double device_us = statistics_median(us[0], rounds); /* sorts, so it comes last */
    for (unsigned i = 0; i < contest->count; i++) {
        contest->rivals[i].results[access].device_us = device_us;
        contest->rivals[i].results[access].rival_us = statistics_median(us[1 + i], rounds);
    }
}

void contest_run(struct contest *contest, unsigned rounds)
{
    for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++)
        measure(contest, rounds, access);
}

void contest_end(struct contest *contest)
{
    bench_end(&contest->device.process);
    for (unsigned i = 0; i < contest->count; i++)
        if (!contest->rivals[i].peer.process.foreign)
            bench_end(&contest->rivals[i].peer.process);
}

void contest_print_row(const char *what, double value, const char *unit, double target,
                       bool at_most)
{
    bool met = at_most ? value <= target : value >= target;
    fprintf(stderr, "%-48s %8.2f %-4s  %s %.2f  %s\n", what, value, unit,
            at_most ? "at most" : "at least", target, met ? "met" : "MISSED");
}

/* The ratio as it is told. */
static double told(const struct contest_rival *rival, enum bench_access access)
{
    double ratio = rival->results[access].ratio;
    return rival->slower ? 1 / ratio : ratio;
}

static void print_rival(const struct contest *contest, const struct contest_rival *rival)
{
    static const char *const names[] = {"config read", "BAR read"};
    char what[64];
    for (enum bench_access i = 0; i < BENCH_ACCESS_COUNT; i++) {
        const struct contest_result *result = &rival->results[i];
        snprintf(what, sizeof(what), rival->slower ? "%s, %s, ours under %s" : "%s, %s, over %s",
                 names[i], contest->mode, rival->name);
        contest_print_row(what, told(rival, i), "x", rival->target, !rival->slower);
        fprintf(stderr, "%-48s %8.2f us against %.2f us\n", "", result->device_us,
                result->rival_us);
    }
}

void contest_print_table(const struct contest *contest)
{
    for (unsigned i = 0; i < contest->count; i++)
        print_rival(contest, &contest->rivals[i]);
}

void contest_print_json(const struct contest *contest)
{
    for (unsigned i = 0; i < contest->count; i++) {
        const struct contest_rival *rival = &contest->rivals[i];
        printf("\"%s_over_%s\": {\"config\": %.3f, \"bar\": %.3f}, ",
               rival->slower ? rival->name : contest->mode,
               rival->slower ? contest->mode : rival->name, told(rival, BENCH_CONFIG_READ),
               told(rival, BENCH_BAR_READ));
    }
}
