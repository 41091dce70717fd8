// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard-blk against qemu-storage-daemon: both serve the same file over vhost-user to the same
 * front end, by io_uring, in one queue.
 *
 * Each is measured with the file in the page cache, where nothing but the processor counts, and past
 * it (O_DIRECT), and by two kinds of driver with a server to match: one that polls the used ring, and
 * one that blocks until the interrupt. Rounds of both follow one another, in alternating order; the
 * result is the median of the rounds' ratios. With two processors, which is the default, the server
 * has one and the driver has the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blk_driver.h"
#include "disk_contest.h"
#include "os/socket.h"
#include "process.h"
#include "statistics.h"

#define LEAST_RATIO 1.0
#define CONNECT_MS  1000
#define CONNECTS    10000

enum server {
    OURS,
    THEIRS,
    SERVERS,
};

struct setup {
    struct disk_contest contest; /* of outboard-blk */
    const char *daemon;          /* qemu-storage-daemon */
};

/* Operations a second. */
struct rows {
    double done[SERVERS][DISK_MODES][DISK_WORKLOADS][DISK_ROUNDS_MAX];
};

/* Neither tells by its path that it accepts; so it is tried. */
static int connect_to(const char *path, const struct bench_process *process)
{
    const struct timespec step = {.tv_nsec = 1000000};
    for (unsigned i = 0; i < CONNECTS; i++) {
        int fd = socket_connect(path, CONNECT_MS);
        if (fd >= 0)
            return fd;
        if (kill(process->pid, 0) < 0)
            break;
        nanosleep(&step, NULL);
    }
    bench_die("nobody listens at %s", path);
}

static struct bench_process start_ours(const struct setup *setup, const char *path,
                                       enum disk_mode mode, bool direct)
{
    char image[1024], listen[128];
    snprintf(image, sizeof(image), "--image=%s%s", setup->contest.path, direct ? ",direct" : "");
    snprintf(listen, sizeof(listen), "--socket-path=%s", path);
    char *argv[] = {(char *)setup->contest.device,
                    listen,
                    image,
                    "--queues=1",
                    mode == DISK_POLLING ? "--poll-us=100" : "--poll-us=0",
                    NULL};
    return bench_start(argv, setup->contest.processors.server, NULL);
}

static struct bench_process start_theirs(const struct setup *setup, const char *path,
                                         enum disk_mode mode, bool direct)
{
    char image[1024], export[256], thread[64];
    snprintf(image, sizeof(image),
             "driver=file,node-name=disk,filename=%s,aio=io_uring,cache.direct=%s",
             setup->contest.path, direct ? "on" : "off");
    snprintf(export, sizeof(export),
             "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1,"
             "iothread=thread,addr.type=unix,addr.path=%s",
             path);
    snprintf(thread, sizeof(thread), "iothread,id=thread,poll-max-ns=%d",
             mode == DISK_POLLING ? 100000 : 0);
    char *argv[] = {
        (char *)setup->daemon, "--object", thread, "--blockdev", image, "--export", export, NULL};
    return bench_start(argv, setup->contest.processors.server, NULL);
}

static double measure_one(const struct setup *setup, enum server server,
                          const struct workload *workload, enum disk_mode mode, bool direct)
{
    char path[64];
    struct blk_driver driver;
    snprintf(path, sizeof(path), "/tmp/outboard-bench-%d", (int)getpid());
    unlink(path);
    struct bench_process process = server == OURS ? start_ours(setup, path, mode, direct)
                                                  : start_theirs(setup, path, mode, direct);
    blk_driver_start(&driver, connect_to(path, &process), mode == DISK_POLLING);
    const struct workload_disk disk = blk_driver_disk(&driver);
    workload_drive(workload, &disk, setup->contest.seconds / 10);
    double operations = workload_drive(workload, &disk, setup->contest.seconds);
    blk_driver_stop(&driver);
    kill(process.pid, SIGTERM);
    bench_end(&process);
    unlink(path);
    return operations;
}

static void measure(const struct setup *setup, bool direct, struct rows *rows)
{
    if (direct)
        workload_empty_cache(setup->contest.path);
    for (unsigned round = 0; round < setup->contest.rounds; round++)
        for (unsigned i = 0; i < DISK_WORKLOADS; i++)
            for (enum disk_mode mode = 0;
                 mode < DISK_MODES && disk_contest_wants(&setup->contest, &disk_workloads[i]);
                 mode++)
                for (unsigned turn = 0; turn < SERVERS; turn++) {
                    const enum server server = (round + turn) % SERVERS;
                    rows->done[server][mode][i][round] =
                        measure_one(setup, server, &disk_workloads[i], mode, direct);
                }
}

static double ratio_of(const struct setup *setup, const struct rows *rows, enum disk_mode mode,
                       unsigned index)
{
    double scratch[DISK_ROUNDS_MAX] = {0};
    return statistics_median_ratio(rows->done[OURS][mode][index], rows->done[THEIRS][mode][index],
                                   scratch, setup->contest.rounds);
}

static double median_us(const struct setup *setup, const double *row)
{
    double copy[DISK_ROUNDS_MAX];
    memcpy(copy, row, setup->contest.rounds * sizeof(copy[0]));
    return 1e6 / statistics_median(copy, setup->contest.rounds);
}

static void print_table(const struct setup *setup, const struct rows *rows, bool direct)
{
    fprintf(stderr, "%s\n", direct ? "past the page cache" : "in the page cache");
    for (unsigned i = 0; i < DISK_WORKLOADS; i++)
        for (enum disk_mode mode = 0;
             mode < DISK_MODES && disk_contest_wants(&setup->contest, &disk_workloads[i]); mode++) {
            const double ratio = ratio_of(setup, rows, mode, i);
            fprintf(stderr,
                    "  %-32s %-9s %6.2f of the daemon's  at least %.2f  %-6s  "
                    "(%.1f us against %.1f us)\n",
                    disk_workloads[i].name, disk_mode_names[mode], ratio, LEAST_RATIO,
                    ratio >= LEAST_RATIO ? "met" : "MISSED",
                    median_us(setup, rows->done[OURS][mode][i]),
                    median_us(setup, rows->done[THEIRS][mode][i]));
        }
}

static void print_json(const struct setup *setup, const struct rows *rows, bool direct)
{
    const char *comma = "";
    printf("\"%s\": {", direct ? "direct" : "cached");
    for (enum disk_mode mode = 0; mode < DISK_MODES; mode++)
        for (unsigned i = 0; i < DISK_WORKLOADS; i++)
            if (disk_contest_wants(&setup->contest, &disk_workloads[i])) {
                printf("%s\"%s_%u_%s\": %.3f", comma, disk_workloads[i].pattern,
                       disk_workloads[i].depth, disk_mode_names[mode],
                       ratio_of(setup, rows, mode, i));
                comma = ", ";
            }
    printf("}");
}

static void run(const struct setup *setup)
{
    static struct rows rows;
    workload_make_file(setup->contest.path);
    bench_bind(setup->contest.processors.client);
    printf("{\"bench\": \"blk\", \"wire\": \"vhost-user\", \"rounds\": %u, ",
           setup->contest.rounds);
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
    fputs("usage: blk --device=PATH --file=PATH [--daemon=PATH] [--rounds=N] [--seconds=S]\n"
          "       [--processors=2|any] [--only=WORKLOAD]\n",
          stderr);
    exit(2);
}

static bool apply(struct setup *setup, int option, const char *value)
{
    if (option != 'q')
        return disk_contest_apply(&setup->contest, option, value);
    setup->daemon = value;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        DISK_CONTEST_OPTIONS,
        {"daemon", required_argument, NULL, 'q'},
        {0},
    };
    struct setup setup = {.daemon = "qemu-storage-daemon"};
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
