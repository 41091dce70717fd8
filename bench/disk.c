// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a disk in a process of its own costs: outboard-nvme, driven by our client and a small NVMe
 * driver, against fio with io_uring, which does the same to the same file in one process.
 *
 * Each is done with the file in the page cache, where nothing but the processor counts, and past it
 * (O_DIRECT), and by two kinds of client with a server to match: one that polls for completions and
 * one that blocks until the interrupt. Rounds of all of them follow one another; what counts is the
 * median of the rounds' ratios. At depth 1 it is the time that an operation takes longer than
 * fio's, in round trips of a bare Unix socket whose ends poll or block likewise.
 *
 * With --processors=2, which is the default, the device has a processor of its own, and fio has
 * that one when it is its turn. A client that polls keeps the other one busy, whatever it polls
 * for, and whoever emulates a virtual machine's disk may need it; fio, which is then compared with
 * it, has somebody beside it who does the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "disk_contest.h"
#include "exchange.h"
#include "fio.h"
#include "nvme_driver.h"
#include "os/clock.h"
#include "process.h"
#include "statistics.h"

#define BURSTS      25 /* of round trips */
#define LEAST_RATIO 0.85
#define MOST_TRIPS  1.5

struct setup {
    struct disk_contest contest; /* of outboard-nvme */
    const struct bench_wire *wire;
    bool registers; /* no shadow doorbells */
};

/* A row of rounds for each thing measured. Operations a second, microseconds of a round trip. */
struct rows {
    double fio[DISK_MODES][DISK_WORKLOADS][DISK_ROUNDS_MAX];
    double ours[DISK_MODES][DISK_WORKLOADS][DISK_ROUNDS_MAX];
    double trip_us[DISK_MODES][DISK_ROUNDS_MAX];
};

/* With a device program of its own, since it has the image for itself. */
static double measure_ours(const struct setup *setup, const struct workload *workload,
                           enum disk_mode mode, bool direct)
{
    char image[1024], wire[64];
    struct nvme_driver driver;
    snprintf(image, sizeof(image), "--image=%s%s", setup->contest.path, direct ? ",direct" : "");
    snprintf(wire, sizeof(wire), "--wire=%s", setup->wire->name);
    char *argv[] = {(char *)setup->contest.device,
                    "--fd=3",
                    wire,
                    image,
                    mode == DISK_POLLING ? "--poll-us=100" : "--poll-us=0",
                    NULL};
    struct bench_process device = bench_start(argv, setup->contest.processors.server, NULL);
    const struct nvme_driver_options options = {
        .wire = setup->wire->name, .polls = mode == DISK_POLLING, .registers = setup->registers};
    nvme_driver_start(&driver, device.fd, &options);
    const struct workload_disk disk = nvme_driver_disk(&driver);
    workload_drive(workload, &disk, setup->contest.seconds / 10);
    double operations = workload_drive(workload, &disk, setup->contest.seconds);
    nvme_driver_stop(&driver);
    device.fd = -1; /* the client had it */
    bench_end(&device);
    return operations;
}

/* Keeps a processor busy until the peer closes its socket. */
static void spin(int fd, const void *unused)
{
    char byte;
    do
        for (unsigned i = 0; i < 100000; i++)
            __asm__ volatile("");
    while (recv(fd, &byte, 1, MSG_DONTWAIT) != 0);
}

static double measure_fio(const struct setup *setup, const struct workload *workload,
                          enum disk_mode mode, bool direct)
{
    const struct fio_job job = {.path = setup->contest.path,
                                .pattern = workload->pattern,
                                .len = workload->len,
                                .depth = workload->depth,
                                .direct = direct,
                                .seconds = setup->contest.seconds,
                                .processor = setup->contest.processors.server};
    if (mode == DISK_BLOCKING || setup->contest.processors.client < 0)
        return fio_run(&job);
    struct bench_process busy = bench_fork(spin, NULL, setup->contest.processors.client);
    double operations = fio_run(&job);
    bench_end(&busy);
    return operations;
}

static double measure_trip(const struct setup *setup, enum disk_mode mode)
{
    static const struct bench_register where = {.size = 4};
    struct bench_exchange exchange;
    double us[BURSTS];
    setup->wire->make(BENCH_BAR_READ, &where, &exchange);
    const struct bench_pong how = {.polls = mode == DISK_POLLING, .reply_len = exchange.reply_len};
    struct bench_process pong = bench_fork(bench_pong, &how, setup->contest.processors.server);
    for (unsigned i = 0; i < BURSTS; i++)
        us[i] = bench_burst_us(pong.fd, &exchange, how.polls);
    bench_end(&pong);
    return statistics_median(us, BURSTS);
}

static void measure_workload(const struct setup *setup, unsigned index, unsigned round, bool direct,
                             struct rows *rows)
{
    const struct workload *workload = &disk_workloads[index];
    for (enum disk_mode mode = 0; mode < DISK_MODES; mode++) {
        if (round % 2)
            rows->fio[mode][index][round] = measure_fio(setup, workload, mode, direct);
        rows->ours[mode][index][round] = measure_ours(setup, workload, mode, direct);
        if (round % 2 == 0)
            rows->fio[mode][index][round] = measure_fio(setup, workload, mode, direct);
    }
}

static void measure(const struct setup *setup, bool direct, struct rows *rows)
{
    if (direct)
        workload_empty_cache(setup->contest.path);
    for (unsigned round = 0; round < setup->contest.rounds; round++) {
        for (enum disk_mode mode = 0; mode < DISK_MODES; mode++)
            rows->trip_us[mode][round] = measure_trip(setup, mode);
        for (unsigned i = 0; i < DISK_WORKLOADS; i++)
            if (disk_contest_wants(&setup->contest, &disk_workloads[i]))
                measure_workload(setup, i, round, direct, rows);
    }
}

/* How much longer an operation takes than fio's, in round trips: the median of the rounds. */
static double added_trips(const struct setup *setup, const struct rows *rows, enum disk_mode mode,
                          unsigned index)
{
    double trips[DISK_ROUNDS_MAX] = {0};
    for (unsigned i = 0; i < setup->contest.rounds; i++)
        trips[i] = (1e6 / rows->ours[mode][index][i] - 1e6 / rows->fio[mode][index][i]) /
                   rows->trip_us[mode][i];
    return statistics_median(trips, setup->contest.rounds);
}

static double throughput_ratio(const struct setup *setup, const struct rows *rows,
                               enum disk_mode mode, unsigned index)
{
    double scratch[DISK_ROUNDS_MAX] = {0};
    return statistics_median_ratio(rows->ours[mode][index], rows->fio[mode][index], scratch,
                                   setup->contest.rounds);
}

static double median_of(const double *row, unsigned rounds)
{
    double copy[DISK_ROUNDS_MAX];
    memcpy(copy, row, rounds * sizeof(copy[0]));
    return statistics_median(copy, rounds);
}

static void print_row(const struct setup *setup, const struct rows *rows, enum disk_mode mode,
                      unsigned index)
{
    const struct workload *workload = &disk_workloads[index];
    bool single = workload->depth == 1;
    double value =
        single ? added_trips(setup, rows, mode, index) : throughput_ratio(setup, rows, mode, index);
    bool met = single ? value <= MOST_TRIPS : value >= LEAST_RATIO;
    fprintf(stderr, "  %-32s %-9s %6.2f %-11s %s %.2f  %-6s  (%.1f us against %.1f us)\n",
            workload->name, disk_mode_names[mode], value, single ? "round trips" : "of fio's",
            single ? "at most" : "at least", single ? MOST_TRIPS : LEAST_RATIO,
            met ? "met" : "MISSED", 1e6 / median_of(rows->ours[mode][index], setup->contest.rounds),
            1e6 / median_of(rows->fio[mode][index], setup->contest.rounds));
}

static void print_table(const struct setup *setup, const struct rows *rows, bool direct)
{
    fprintf(stderr, "%s\n", direct ? "past the page cache" : "in the page cache");
    for (unsigned i = 0; i < DISK_WORKLOADS; i++)
        for (enum disk_mode mode = 0;
             mode < DISK_MODES && disk_contest_wants(&setup->contest, &disk_workloads[i]); mode++)
            print_row(setup, rows, mode, i);
    for (enum disk_mode mode = 0; mode < DISK_MODES; mode++)
        fprintf(stderr, "  a round trip, %s: %.1f us\n", disk_mode_names[mode],
                median_of(rows->trip_us[mode], setup->contest.rounds));
}

static void print_json(const struct setup *setup, const struct rows *rows, bool direct)
{
    printf("\"%s\": {", direct ? "direct" : "cached");
    for (enum disk_mode mode = 0; mode < DISK_MODES; mode++) {
        printf("%s\"%s\": {\"trip_us\": %.2f", mode ? ", " : "", disk_mode_names[mode],
               median_of(rows->trip_us[mode], setup->contest.rounds));
        for (unsigned i = 0; i < DISK_WORKLOADS; i++) {
            const struct workload *workload = &disk_workloads[i];
            bool single = workload->depth == 1;
            if (!disk_contest_wants(&setup->contest, workload))
                continue;
            printf(", \"%s_%u%s\": %.3f", workload->pattern, workload->depth,
                   single ? "_added_trips" : "",
                   single ? added_trips(setup, rows, mode, i)
                          : throughput_ratio(setup, rows, mode, i));
        }
        printf("}");
    }
    printf("}");
}

static void run(const struct setup *setup)
{
    static struct rows rows;
    workload_make_file(setup->contest.path);
    bench_bind(setup->contest.processors.client);
    printf("{\"bench\": \"disk\", \"wire\": \"%s\", \"doorbells\": \"%s\", \"rounds\": %u, ",
           setup->wire->name, setup->registers ? "registers" : "shadow", setup->contest.rounds);
    for (int direct = 0; direct < 2; direct++) {
        measure(setup, direct, &rows);
        print_table(setup, &rows, direct);
        print_json(setup, &rows, direct);
        printf("%s", direct ? "}\n" : ", ");
    }
    unlink(setup->contest.path);
}

static void usage(void)
{
    fputs("usage: disk --device=PATH --file=PATH [--rounds=N] [--seconds=S] [--processors=2|any]\n"
          "       [--doorbells=shadow|registers] [--only=WORKLOAD] [--wire=vfio-user|mpqemu]\n",
          stderr);
    exit(2);
}

static bool apply(struct setup *setup, int option, const char *value)
{
    switch (option) {
    case 'b':
        setup->registers = strcmp(value, "registers") == 0;
        return setup->registers || strcmp(value, "shadow") == 0;
    case 'w':
        setup->wire = strcmp(value, "mpqemu") == 0 ? &bench_mpqemu : &bench_vfio_user;
        return strcmp(value, setup->wire->name) == 0;
    default:
        return disk_contest_apply(&setup->contest, option, value);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        DISK_CONTEST_OPTIONS,
        {"doorbells", required_argument, NULL, 'b'},
        {"wire", required_argument, NULL, 'w'},
        {0},
    };
    struct setup setup = {.wire = &bench_vfio_user};
    disk_contest_init(&setup.contest);
    bool good = true;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        good = good && apply(&setup, option, optarg);
    if (!good || optind < argc || !setup.contest.device || !setup.contest.path)
        usage();
    run(&setup);
    return 0;
}
