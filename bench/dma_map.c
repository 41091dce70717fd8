// SPDX-License-Identifier: BSD-3-Clause
/*
 * What guest memory in many regions costs: to map one, to look one up, to unmap one, with a
 * thousand regions, eight thousand, and as many as vfio-user allows.
 *
 * The regions are pages of one file with gaps between them, mapped and unmapped in random order. A
 * look-up is what a device does that finds a guest address for I/O: a span is mapped at a random
 * address and given back; the memory itself is not touched. Each round does all sizes after one
 * another, and its ratios count: how much longer an operation takes than with a thousand regions,
 * against the logarithms of the numbers.
 *
 * Caches know no logarithms. The floor beside them is one access to memory: a random one of as many
 * cache lines as there are regions, each of which says where the next one is.
 */
#include <errno.h>
#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/shared_memory.h"
#include "process.h"
#include "statistics.h"

#define ROUNDS   9u
#define LOOK_UPS 1000000u

static const unsigned sizes[] = {1000, 8000, LIMIT_MEMORY_REGIONS};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

enum operation {
    MAP,
    LOOK_UP,
    UNMAP,
    OPERATIONS,
};

static const char *const names[OPERATIONS] = {"map", "look-up", "unmap"};

/* Nanoseconds of one operation. */
struct times {
    double ns[OPERATIONS][SIZES][ROUNDS];
    double floor_ns[SIZES][ROUNDS];
};

static int map_file(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
                    uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault)
{
    return shared_memory_map(fd, offset, len, writable, ret_address, &ret_file->device,
                             &ret_file->inode);
}

static void unmap_file(void *context, uint8_t *address, uint64_t len)
{
    shared_memory_unmap(address);
}

/* Numbers that look random and are the same in each run (xorshift64). */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void shuffle(unsigned *numbers, unsigned count, uint64_t *random)
{
    for (unsigned i = 0; i < count; i++)
        numbers[i] = i;
    for (unsigned i = count; i > 1; i--) {
        unsigned other = (unsigned)(draw(random) % i), swapped = numbers[i - 1];
        numbers[i - 1] = numbers[other];
        numbers[other] = swapped;
    }
}

static uint64_t address_of(unsigned number)
{
    return 2 * (uint64_t)number * MEMORY_PAGE;
}

static void map_all(struct memory *memory, const unsigned *order, unsigned count, int fd)
{
    for (unsigned i = 0; i < count; i++) {
        const struct memory_region_desc desc = {.gpa = address_of(order[i]),
                                                .len = MEMORY_PAGE,
                                                .offset = (uint64_t)order[i] * MEMORY_PAGE,
                                                .fd = fd,
                                                .writable = true};
        int err = memory_add(memory, &desc, LIMIT_MEMORY_REGIONS, NULL);
        if (err < 0)
            bench_die("region %u of %u was not mapped: %s", i, count, strerror(-err));
    }
}

static void look_up_all(struct memory *memory, unsigned count, uint64_t *random)
{
    for (unsigned i = 0; i < LOOK_UPS; i++) {
        struct ob_dma_span span;
        unsigned number = (unsigned)(draw(random) % count);
        if (memory_map(memory, address_of(number) + 64, 512, false, &span, 1) != 1)
            bench_die("region %u of %u is not there", number, count);
        memory_unmap(memory, &span, 1);
    }
}

static void unmap_all(struct memory *memory, const unsigned *order, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct ob_dma_region *region;
        if (memory_remove(memory, address_of(order[i]), MEMORY_PAGE, &region) < 0)
            bench_die("region %u of %u is not there", order[i], count);
        memory_drop(memory, region);
    }
}

struct line {
    alignas(64) unsigned next;
};

/* Lines in a circle, in that order. */
static struct line *make_circle(const unsigned *order, unsigned count)
{
    static struct line lines[LIMIT_MEMORY_REGIONS];
    for (unsigned i = 0; i < count; i++)
        lines[order[i]].next = order[(i + 1) % count];
    return lines;
}

static unsigned follow(const struct line *lines)
{
    unsigned at = 0;
    for (unsigned i = 0; i < LOOK_UPS; i++)
        at = lines[at].next;
    return at;
}

static double measure_floor(const unsigned *order, unsigned count)
{
    const struct line *lines = make_circle(order, count);
    uint64_t start_ns = clock_now_ns();
    unsigned end = follow(lines);
    uint64_t end_ns = clock_now_ns();
    if (end >= count)
        bench_die("the circle of lines is broken");
    return (double)(end_ns - start_ns) / LOOK_UPS;
}

static void measure(struct times *times, unsigned size, unsigned round, int fd)
{
    static unsigned order[LIMIT_MEMORY_REGIONS];
    const unsigned count = sizes[size];
    uint64_t random = 1 + round, at_ns[OPERATIONS + 1];
    const struct memory_host host = {.map = map_file, .unmap = unmap_file};
    struct memory memory;
    memory_init(&memory, host);
    shuffle(order, count, &random);
    at_ns[MAP] = clock_now_ns();
    map_all(&memory, order, count, fd);
    at_ns[LOOK_UP] = clock_now_ns();
    look_up_all(&memory, count, &random);
    at_ns[UNMAP] = clock_now_ns();
    unmap_all(&memory, order, count);
    at_ns[OPERATIONS] = clock_now_ns();
    memory_done(&memory);
    for (enum operation i = 0; i < OPERATIONS; i++)
        times->ns[i][size][round] =
            (double)(at_ns[i + 1] - at_ns[i]) / (i == LOOK_UP ? LOOK_UPS : count);
    times->floor_ns[size][round] = measure_floor(order, count);
}

/* How much longer an operation takes than with the fewest regions, over what a logarithm allows. */
static double growth_of(struct times *times, enum operation operation, unsigned size)
{
    double scratch[ROUNDS];
    double allowed = log2(sizes[size]) / log2(sizes[0]);
    return statistics_median_ratio(times->ns[operation][size], times->ns[operation][0], scratch,
                                   ROUNDS) /
           allowed;
}

static void print_operation(struct times *times, enum operation operation)
{
    double growth[SIZES], ns[SIZES];
    for (unsigned i = 0; i < SIZES; i++)
        growth[i] = growth_of(times, operation, i);
    for (unsigned i = 0; i < SIZES; i++)
        ns[i] = statistics_median(times->ns[operation][i], ROUNDS); /* sorts */
    for (unsigned i = 0; i < SIZES; i++) {
        fprintf(stderr, "%-8s of %5u %10.1f ns  growth over that of log n %5.2f %s\n",
                names[operation], sizes[i], ns[i], growth[i],
                growth[i] <= 1 ? "" : "more than log n");
        printf("%s{\"operation\": \"%s\", \"regions\": %u, \"ns\": %.1f, "
               "\"growth_over_log\": %.3f}",
               operation == 0 && i == 0 ? "" : ", ", names[operation], sizes[i], ns[i], growth[i]);
    }
}

static void print_floor(struct times *times)
{
    double scratch[ROUNDS], ratio[SIZES], ns[SIZES];
    for (unsigned i = 0; i < SIZES; i++)
        ratio[i] =
            statistics_median_ratio(times->ns[LOOK_UP][i], times->floor_ns[i], scratch, ROUNDS);
    printf("\"floor\": [");
    for (unsigned i = 0; i < SIZES; i++) {
        ns[i] = statistics_median(times->floor_ns[i], ROUNDS);
        fprintf(stderr, "a line   of %5u %10.1f ns  a look-up is %.1f times as long\n", sizes[i],
                ns[i], ratio[i]);
        printf("%s{\"lines\": %u, \"ns\": %.1f, \"look_up_ratio\": %.2f}", i ? ", " : "", sizes[i],
               ns[i], ratio[i]);
    }
}

int main(int argc, char **argv)
{
    static struct times times;
    if (argc > 1)
        bench_die("'%s': bench-dma-map takes no arguments", argv[1]);
    int fd = memfd_create("bench-ram", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)LIMIT_MEMORY_REGIONS * MEMORY_PAGE) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned size = 0; size < SIZES; size++)
            measure(&times, size, round, fd);
    printf("{\"bench\": \"dma-map\", \"rounds\": %u, \"look_ups\": %u, ", ROUNDS, LOOK_UPS);
    print_floor(&times); /* before rows are sorted */
    printf("], \"results\": [");
    for (enum operation i = 0; i < OPERATIONS; i++)
        print_operation(&times, i);
    puts("]}");
    close(fd);
    return 0;
}
