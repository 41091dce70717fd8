// SPDX-License-Identifier: BSD-3-Clause
/* fio(1), which shows what the host's kernel can do with a file. */
#ifndef OUTBOARD_BENCH_FIO_H
#define OUTBOARD_BENCH_FIO_H

#include <stdbool.h>

struct fio_job {
    const char *path;
    const char *pattern; /* --rw */
    unsigned len;        /* of an operation, bytes */
    unsigned depth;
    bool direct;
    double seconds;
    int processor; /* -1: any */
};

/* Runs it, with io_uring. Returns operations a second; ends the bench when fio fails. */
double fio_run(const struct fio_job *job);

#endif
