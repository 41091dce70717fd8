// SPDX-License-Identifier: BSD-3-Clause
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BAR_WIDTH 40

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int measure(struct ob_backdoor *backdoor, uint64_t command, uint64_t *times_ns, size_t calls,
                   struct ob_fault *fault)
{
    for (size_t i = 0; i < calls; i++) {
        uint64_t start = now_ns();
        int err = ob_backdoor_call(backdoor, command, fault);
        if (err < 0)
            return err;
        times_ns[i] = now_ns() - start;
    }
    return ob_backdoor_check(backdoor, fault); /* or the device was not there to answer */
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void print_percentiles(const uint64_t *sorted_ns, size_t calls)
{
    static const struct {
        const char *name;
        unsigned permille;
    } marks[] = {{"min", 0}, {"median", 500}, {"90 %", 900}, {"99 %", 990}, {"max", 1000}};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t index = (calls - 1) * marks[i].permille / 1000;
        printf("%s%s %.1f us", i ? ", " : "", marks[i].name, (double)sorted_ns[index] / 1000);
    }
    printf("\n");
}

/* One line per power of two nanoseconds between the shortest and the longest time. */
static void print_histogram(const uint64_t *sorted_ns, size_t calls)
{
    size_t at = 0;
    for (uint64_t high_ns = 2; at < calls; high_ns *= 2) {
        size_t first = at;
        while (at < calls && sorted_ns[at] < high_ns)
            at++;
        if (at == 0)
            continue;
        size_t marks = ((at - first) * BAR_WIDTH + calls - 1) / calls;
        printf("%10.1f us and more: %7zu  ", (double)high_ns / 2000, at - first);
        while (marks-- > 0)
            putchar('#');
        putchar('\n');
    }
}

int bench_run(struct ob_backdoor *backdoor, uint64_t command, size_t calls, struct ob_fault *fault)
{
    uint64_t *times_ns = calloc(calls, sizeof(*times_ns));
    if (!times_ns)
        return ob_fault_set(fault, -ENOMEM, "no memory for the times of %zu calls", calls);
    int err = measure(backdoor, command, times_ns, calls, fault);
    if (err == 0) {
        qsort(times_ns, calls, sizeof(*times_ns), compare);
        printf("%zu calls of command %" PRIu64 " through %s\n", calls, command,
               ob_backdoor_name(backdoor));
        print_percentiles(times_ns, calls);
        print_histogram(times_ns, calls);
    }
    free(times_ns);
    return err;
}
