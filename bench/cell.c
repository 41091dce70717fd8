// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a cell costs: programs with --cell=required against the same with --cell=none.
 *
 * Starts, round trips of a register and rounds of a disk take turns, and what counts is the median
 * of the differences or ratios of neighbours. Memory of the kernel is not accounted for by process:
 * it is what the machine has less when some devices more run, which other programs disturb.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contest.h"
#include "nvme_driver.h"
#include "peers.h"
#include "ready.h"
#include "statistics.h"
#include "workload.h"

#define STARTS          40
#define REGISTER_PAIRS  15 /* of processes: each has its luck with the addresses that it gets */
#define REGISTER_ROUNDS 60 /* of each pair */
#define DISK_ROUNDS     31
#define DISK_SECONDS    0.3
#define KERNEL_ROUNDS   5
#define KERNEL_DEVICES  16
#define MOST_READY_MS   3
#define MOST_MIB        0.75
#define LEAST_DISK      0.97

static const char *const how[] = {"--cell=none", "--cell=required"};

/* Of the round trip of a register: what both ends do, so that the reply meets a client in one state.
 * By default a device polls and a VMM blocks. The reply then meets a processor that is about to halt,
 * and whether it comes before or after that counts for more than the cell does. */
static const struct mode {
    const char *name;
    bool polls; /* the client */
    const char *poll_option;
    double most; /* times none; 0: told without a bar */
} modes[] = {{"polling", true, "--poll-us=1000", 1.02},
             {"blocking", false, "--poll-us=0", 1.02},
             {"default", false, NULL, 0}};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static const struct workload workloads[] = {
    {"random read, 4 KiB, depth 1", "randread", false, true, 4096, 1},
    {"random read, 4 KiB, depth 32", "randread", false, true, 4096, 32},
    {"random write, 4 KiB, depth 32", "randwrite", true, true, 4096, 32},
    {"sequential read, 128 KiB", "read", false, false, 131072, 32},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

struct setup {
    struct peers peers;
    const char *disk;  /* the program outboard-nvme */
    const char *image; /* a file that is made */
    int client;        /* the processor */
};

struct findings {
    double ready_ms[2], added_ms;
    struct bench_memory memory[2];
    double kernel_kib; /* that a cell adds */
    double register_ratios[MODES][BENCH_ACCESS_COUNT];
    double disk_ratios[WORKLOADS];
};

static void measure_starts(const struct setup *setup, struct findings *findings)
{
    double ms[2][STARTS], added[STARTS];
    struct bench_ready ready;
    bench_ready_open(&ready);
    for (unsigned i = 0; i < STARTS; i++) {
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned cell = (i + turn) % 2;
            struct bench_process device = peers_start_device(
                &setup->peers, &bench_mpqemu, (const char *[]){how[cell], NULL}, ready.path);
            ms[cell][i] = bench_ready_wait(&ready, &device);
            if (i == 0)
                findings->memory[cell] = bench_memory_of(device.pid);
            bench_end(&device);
        }
        added[i] = ms[1][i] - ms[0][i];
    }
    bench_ready_close(&ready);
    findings->added_ms = statistics_median(added, STARTS);
    for (unsigned cell = 0; cell < 2; cell++)
        findings->ready_ms[cell] = statistics_median(ms[cell], STARTS);
}

/* What the kernel has for itself, KiB. */
static double kernel_kib(void)
{
    static const char *const names[] = {"Slab:", "KernelStack:", "PageTables:", "Percpu:"};
    double sum = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        bench_die("can't read /proc/meminfo: %s", strerror(errno));
    while (fgets(line, sizeof(line), file))
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                sum += strtod(line + strlen(names[i]), NULL);
    fclose(file);
    return sum;
}

static double kernel_kib_of(const struct setup *setup, unsigned cell)
{
    struct bench_process devices[KERNEL_DEVICES];
    struct bench_ready ready;
    bench_ready_open(&ready);
    double before = kernel_kib();
    for (unsigned i = 0; i < KERNEL_DEVICES; i++) {
        devices[i] = peers_start_device(&setup->peers, &bench_mpqemu,
                                        (const char *[]){how[cell], NULL}, ready.path);
        bench_ready_wait(&ready, &devices[i]);
    }
    double after = kernel_kib();
    for (unsigned i = 0; i < KERNEL_DEVICES; i++)
        bench_end(&devices[i]);
    bench_ready_close(&ready);
    return (after - before) / KERNEL_DEVICES;
}

static void measure_kernel(const struct setup *setup, struct findings *findings)
{
    double added[KERNEL_ROUNDS];
    for (unsigned i = 0; i < KERNEL_ROUNDS; i++) {
        double with = kernel_kib_of(setup, 1);
        added[i] = with - kernel_kib_of(setup, 0);
    }
    findings->kernel_kib = statistics_median(added, KERNEL_ROUNDS);
}

/* One pair of processes; the program that is started first changes from pair to pair. */
static void measure_pair(const struct setup *setup, const struct mode *mode, unsigned pair,
                         struct contest_result ret_results[BENCH_ACCESS_COUNT])
{
    struct bench_peer peers[2];
    for (unsigned turn = 0; turn < 2; turn++) {
        unsigned cell = (pair + turn) % 2;
        peers[cell] = peers_device(&setup->peers, &bench_mpqemu,
                                   (const char *[]){how[cell], mode->poll_option});
    }
    struct contest contest = {.mode = mode->name, .polls = mode->polls, .device = peers[1]};
    contest_add(&contest, &(struct contest_rival){.name = "none", .peer = peers[0]});
    contest_run(&contest, REGISTER_ROUNDS);
    contest_end(&contest);
    memcpy(ret_results, contest.rivals[0].results, sizeof(contest.rivals[0].results));
}

static void measure_mode(const struct setup *setup, const struct mode *mode,
                         double ret_ratios[BENCH_ACCESS_COUNT])
{
    double ratios[BENCH_ACCESS_COUNT][REGISTER_PAIRS];
    for (unsigned pair = 0; pair < REGISTER_PAIRS; pair++) {
        struct contest_result results[BENCH_ACCESS_COUNT];
        measure_pair(setup, mode, pair, results);
        for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++)
            ratios[access][pair] = results[access].ratio;
    }
    for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++)
        ret_ratios[access] = statistics_median(ratios[access], REGISTER_PAIRS);
}

static void measure_registers(const struct setup *setup, struct findings *findings)
{
    for (unsigned i = 0; i < MODES; i++)
        measure_mode(setup, &modes[i], findings->register_ratios[i]);
}

static double measure_disk(const struct setup *setup, const struct workload *workload,
                           unsigned cell)
{
    char image[1024];
    struct nvme_driver driver;
    snprintf(image, sizeof(image), "--image=%s", setup->image);
    char *argv[] = {(char *)setup->disk, "--fd=3", "--wire=vfio-user", image,
                    (char *)how[cell],   NULL};
    struct bench_process device = bench_start(argv, setup->peers.processor, NULL);
    nvme_driver_start(&driver, device.fd, &(struct nvme_driver_options){.wire = "vfio-user"});
    const struct workload_disk disk = nvme_driver_disk(&driver);
    workload_drive(workload, &disk, DISK_SECONDS / 10);
    double operations = workload_drive(workload, &disk, DISK_SECONDS);
    nvme_driver_stop(&driver);
    device.fd = -1; /* the client had it */
    bench_end(&device);
    return operations;
}

static void measure_disks(const struct setup *setup, struct findings *findings)
{
    for (unsigned i = 0; i < WORKLOADS; i++) {
        double operations[2][DISK_ROUNDS], scratch[DISK_ROUNDS];
        for (unsigned round = 0; round < DISK_ROUNDS; round++)
            for (unsigned turn = 0; turn < 2; turn++) {
                unsigned cell = (round + turn) % 2;
                operations[cell][round] = measure_disk(setup, &workloads[i], cell);
            }
        findings->disk_ratios[i] =
            statistics_median_ratio(operations[1], operations[0], scratch, DISK_ROUNDS);
    }
}

static void print_registers(const struct findings *findings)
{
    static const char *const accesses[] = {"config read", "BAR read"};
    for (unsigned i = 0; i < MODES; i++)
        for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++) {
            char what[64];
            double ratio = findings->register_ratios[i][access];
            snprintf(what, sizeof(what), "%s, %s, over none", accesses[access], modes[i].name);
            if (modes[i].most > 0)
                contest_print_row(what, ratio, "x", modes[i].most, true);
            else
                fprintf(stderr, "%-48s %8.2f x\n", what, ratio);
        }
}

static void print(const struct findings *findings)
{
    double private_mib = (double)findings->memory[1].private_kib / 1024;
    print_registers(findings);
    contest_print_row("start to READY, added", findings->added_ms, "ms", MOST_READY_MS, true);
    contest_print_row("private memory", private_mib, "MiB", MOST_MIB, true);
    fprintf(stderr, "%-48s %8.2f KiB\n", "kernel memory, added", findings->kernel_kib);
    for (unsigned i = 0; i < WORKLOADS; i++)
        contest_print_row(workloads[i].name, findings->disk_ratios[i], "of none", LEAST_DISK,
                          false);
    printf("{\"bench\": \"cell\", \"ready_ms\": %.3f, \"ready_none_ms\": %.3f, "
           "\"ready_added_ms\": %.3f, \"private_kib\": %lu, \"private_none_kib\": %lu, "
           "\"kernel_added_kib\": %.0f",
           findings->ready_ms[1], findings->ready_ms[0], findings->added_ms,
           findings->memory[1].private_kib, findings->memory[0].private_kib, findings->kernel_kib);
    for (unsigned i = 0; i < MODES; i++)
        printf(", \"%s\": {\"config\": %.3f, \"bar\": %.3f}", modes[i].name,
               findings->register_ratios[i][BENCH_CONFIG_READ],
               findings->register_ratios[i][BENCH_BAR_READ]);
    for (unsigned i = 0; i < WORKLOADS; i++)
        printf(", \"%s\": %.3f", workloads[i].name, findings->disk_ratios[i]);
    puts("}");
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: cell BACKDOOR LIBRARY NVME IMAGE\n", stderr);
        return 2;
    }
    struct bench_processors two = bench_two_processors();
    const struct setup setup = {.peers = {.device = argv[1],
                                          .library = argv[2],
                                          .processor = two.server,
                                          .where = {.size = 4}},
                                .disk = argv[3],
                                .image = argv[4],
                                .client = two.client};
    struct findings findings = {0};
    workload_make_file(setup.image);
    bench_bind(setup.client);
    measure_starts(&setup, &findings);
    measure_kernel(&setup, &findings);
    measure_registers(&setup, &findings);
    measure_disks(&setup, &findings);
    print(&findings);
    unlink(setup.image);
    return 0;
}
