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
 * The floor beside them is what the processor's caches make of so many things: a random one of as
 * many cache lines is changed, with nothing to be found first.
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
#define LOOK_UPS 1000000u /* and touches */

static const unsigned sizes[] = {1000, 8000, LIMIT_MEMORY_REGIONS};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

enum operation {
    MAP,
    LOOK_UP,
    UNMAP,
    TOUCH, /* the floor */
    OPERATIONS,
};

static const char *const names[OPERATIONS] = {"map", "look-up", "unmap", "floor"};

/* Nanoseconds of one operation. */
struct times {
    double ns[OPERATIONS][SIZES][ROUNDS];
};

static int map_file(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
                    uint8_t **ret_address, struct memory_file *ret_file)
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
        int err = memory_add(memory, &desc, LIMIT_MEMORY_REGIONS);
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
    alignas(64) uint64_t value;
};

static void touch_all(unsigned count, uint64_t *random)
{
    static struct line lines[LIMIT_MEMORY_REGIONS];
    for (unsigned i = 0; i < LOOK_UPS; i++)
        lines[draw(random) % count].value++;
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
    at_ns[TOUCH] = clock_now_ns();
    touch_all(count, &random);
    at_ns[OPERATIONS] = clock_now_ns();
    memory_done(&memory);
    for (enum operation i = 0; i < OPERATIONS; i++)
        times->ns[i][size][round] =
            (double)(at_ns[i + 1] - at_ns[i]) / (i == LOOK_UP || i == TOUCH ? LOOK_UPS : count);
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

int main(void)
{
    static struct times times;
    int fd = memfd_create("bench-ram", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)LIMIT_MEMORY_REGIONS * MEMORY_PAGE) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned size = 0; size < SIZES; size++)
            measure(&times, size, round, fd);
    printf("{\"bench\": \"dma-map\", \"rounds\": %u, \"look_ups\": %u, \"results\": [", ROUNDS,
           LOOK_UPS);
    for (enum operation i = 0; i < OPERATIONS; i++)
        print_operation(&times, i);
    puts("]}");
    close(fd);
    return 0;
}
