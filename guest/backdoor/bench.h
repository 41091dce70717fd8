// SPDX-License-Identifier: BSD-3-Clause
/* Round-trip times of calls. */
#ifndef OUTBOARD_GUEST_BENCH_H
#define OUTBOARD_GUEST_BENCH_H

#include <stdint.h>

#include <outboard/backdoor.h>

#define BENCH_DEFAULT_CALLS 1000
#define BENCH_MAX_CALLS     10000000

/* Makes a number of calls one after the other and prints how long they took, as percentiles and as a
 * histogram. Returns 0 or a negative errno. */
int bench_run(struct ob_backdoor *backdoor, uint64_t command, size_t calls, struct ob_fault *fault);

#endif
