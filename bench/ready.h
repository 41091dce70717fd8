// SPDX-License-Identifier: BSD-3-Clause
/* Where a program that is measured says READY=1. */
#ifndef OUTBOARD_BENCH_READY_H
#define OUTBOARD_BENCH_READY_H

#include "process.h"

struct bench_ready {
    int fd;
    char path[64]; /* for bench_start() */
};

void bench_ready_open(struct bench_ready *ready);
/* Waits for the program. Returns the milliseconds from its start. */
double bench_ready_wait(const struct bench_ready *ready, const struct bench_process *process);
void bench_ready_close(struct bench_ready *ready);

#endif
