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
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blk_driver.h"
#include "os/socket.h"
#include "process.h"
#include "statistics.h"

#define MAX_ROUNDS  100
#define LEAST_RATIO 1.0
#define CONNECT_MS  1000
#define CONNECTS    10000

static const struct workload workloads[] = {
    {"random read, 4 KiB, depth 1", "randread", false, true, 4096, 1},
    {"random write, 4 KiB, depth 1", "randwrite", true, true, 4096, 1},
    {"random read, 4 KiB, depth 32", "randread", false, true, 4096, 32},
    {"random write, 4 KiB, depth 32", "randwrite", true, true, 4096, 32},
    {"sequential read, 128 KiB", "read", false, false, 131072, 32},
    {"sequential write, 128 KiB", "write", true, false, 131072, 32},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

enum mode {
    POLLING,
    BLOCKING,
    MODES,
};
static const char *const mode_names[] = {"polling", "blocking"};

enum server {
    OURS,
    THEIRS,
    SERVERS,
};

struct setup {
    const char *device; /* the program outboard-blk */
    const char *daemon; /* qemu-storage-daemon */
    const char *path;   /* the image */
    unsigned rounds;
    double seconds;   /* of each measurement */
    const char *only; /* part of the workloads' names */
    struct bench_processors processors;
};

/* Operations a second. */
struct rows {
    double done[SERVERS][MODES][WORKLOADS][MAX_ROUNDS];
};

static bool is_wanted(const struct setup *setup, const struct workload *workload)
{
    return !setup->only || strstr(workload->name, setup->only);
}

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

static struct bench_process start_ours(const struct setup *setup, const char *path, enum mode mode,
                                       bool direct)
{
    char image[1024], listen[128];
    snprintf(image, sizeof(image), "--image=%s%s", setup->path, direct ? ",direct" : "");
    snprintf(listen, sizeof(listen), "--socket-path=%s", path);
    char *argv[] = {(char *)setup->device,
                    listen,
                    image,
                    "--queues=1",
                    mode == POLLING ? "--poll-us=100" : "--poll-us=0",
                    NULL};
    return bench_start(argv, setup->processors.server, NULL);
}

static struct bench_process start_theirs(const struct setup *setup, const char *path,
                                         enum mode mode, bool direct)
{
    char image[1024], export[256], thread[64];
    snprintf(image, sizeof(image),
             "driver=file,node-name=disk,filename=%s,aio=io_uring,cache.direct=%s", setup->path,
             direct ? "on" : "off");
    snprintf(export, sizeof(export),
             "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1,"
             "iothread=thread,addr.type=unix,addr.path=%s",
             path);
    snprintf(thread, sizeof(thread), "iothread,id=thread,poll-max-ns=%d",
             mode == POLLING ? 100000 : 0);
    char *argv[] = {
        (char *)setup->daemon, "--object", thread, "--blockdev", image, "--export", export, NULL};
    return bench_start(argv, setup->processors.server, NULL);
}

static double measure_one(const struct setup *setup, enum server server,
                          const struct workload *workload, enum mode mode, bool direct)
{
    char path[64];
    struct blk_driver driver;
    snprintf(path, sizeof(path), "/tmp/outboard-bench-%d", (int)getpid());
    unlink(path);
    struct bench_process process = server == OURS ? start_ours(setup, path, mode, direct)
                                                  : start_theirs(setup, path, mode, direct);
    blk_driver_start(&driver, connect_to(path, &process), mode == POLLING);
    const struct workload_disk disk = blk_driver_disk(&driver);
    workload_drive(workload, &disk, setup->seconds / 10);
    double operations = workload_drive(workload, &disk, setup->seconds);
    blk_driver_stop(&driver);
    kill(process.pid, SIGTERM);
    bench_end(&process);
    unlink(path);
    return operations;
}

static void measure(const struct setup *setup, bool direct, struct rows *rows)
{
    if (direct)
        workload_empty_cache(setup->path);
    for (unsigned round = 0; round < setup->rounds; round++)
        for (unsigned i = 0; i < WORKLOADS; i++)
            for (enum mode mode = 0; mode < MODES && is_wanted(setup, &workloads[i]); mode++)
                for (unsigned turn = 0; turn < SERVERS; turn++) {
                    const enum server server = (round + turn) % SERVERS;
                    rows->done[server][mode][i][round] =
                        measure_one(setup, server, &workloads[i], mode, direct);
                }
}

static double ratio_of(const struct setup *setup, const struct rows *rows, enum mode mode,
                       unsigned index)
{
    double scratch[MAX_ROUNDS] = {0};
    return statistics_median_ratio(rows->done[OURS][mode][index], rows->done[THEIRS][mode][index],
                                   scratch, setup->rounds);
}

static double median_us(const struct setup *setup, const double *row)
{
    double copy[MAX_ROUNDS];
    memcpy(copy, row, setup->rounds * sizeof(copy[0]));
    return 1e6 / statistics_median(copy, setup->rounds);
}

static void print_table(const struct setup *setup, const struct rows *rows, bool direct)
{
    fprintf(stderr, "%s\n", direct ? "past the page cache" : "in the page cache");
    for (unsigned i = 0; i < WORKLOADS; i++)
        for (enum mode mode = 0; mode < MODES && is_wanted(setup, &workloads[i]); mode++) {
            const double ratio = ratio_of(setup, rows, mode, i);
            fprintf(stderr,
                    "  %-32s %-9s %6.2f of the daemon's  at least %.2f  %-6s  "
                    "(%.1f us against %.1f us)\n",
                    workloads[i].name, mode_names[mode], ratio, LEAST_RATIO,
                    ratio >= LEAST_RATIO ? "met" : "MISSED",
                    median_us(setup, rows->done[OURS][mode][i]),
                    median_us(setup, rows->done[THEIRS][mode][i]));
        }
}

static void print_json(const struct setup *setup, const struct rows *rows, bool direct)
{
    const char *comma = "";
    printf("\"%s\": {", direct ? "direct" : "cached");
    for (enum mode mode = 0; mode < MODES; mode++)
        for (unsigned i = 0; i < WORKLOADS; i++)
            if (is_wanted(setup, &workloads[i])) {
                printf("%s\"%s_%u_%s\": %.3f", comma, workloads[i].pattern, workloads[i].depth,
                       mode_names[mode], ratio_of(setup, rows, mode, i));
                comma = ", ";
            }
    printf("}");
}

static void run(const struct setup *setup)
{
    static struct rows rows;
    workload_make_file(setup->path);
    bench_bind(setup->processors.client);
    printf("{\"bench\": \"blk\", \"wire\": \"vhost-user\", \"rounds\": %u, ", setup->rounds);
    for (int direct = 0; direct < 2; direct++) {
        measure(setup, direct, &rows);
        print_table(setup, &rows, direct);
        print_json(setup, &rows, direct);
        printf("%s", direct ? "}\n" : ", ");
    }
    unlink(setup->path);
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
    switch (option) {
    case 'd':
        setup->device = value;
        return true;
    case 'q':
        setup->daemon = value;
        return true;
    case 'f':
        setup->path = value;
        return true;
    case 'r':
        setup->rounds = (unsigned)strtoul(value, NULL, 10);
        return setup->rounds >= 1 && setup->rounds <= MAX_ROUNDS;
    case 's':
        setup->seconds = strtod(value, NULL);
        return setup->seconds > 0;
    case 'p':
        if (strcmp(value, "any") == 0)
            setup->processors = (struct bench_processors){.client = -1, .server = -1};
        return strcmp(value, "any") == 0 || strcmp(value, "2") == 0;
    case 'o':
        setup->only = value;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'},  {"daemon", required_argument, NULL, 'q'},
        {"file", required_argument, NULL, 'f'},    {"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'}, {"processors", required_argument, NULL, 'p'},
        {"only", required_argument, NULL, 'o'},    {0},
    };
    struct setup setup = {.daemon = "qemu-storage-daemon",
                          .rounds = 7,
                          .seconds = 0.5,
                          .processors = bench_two_processors()};
    bool good = true;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        good = good && apply(&setup, option, optarg);
    if (!good || optind < argc || !setup.device || !setup.path)
        usage();
    run(&setup);
    return 0;
}
