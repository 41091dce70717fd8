// SPDX-License-Identifier: BSD-3-Clause
/* The assertion of fuzz targets: what does not hold is a finding, in every build. */
#ifndef OUTBOARD_FUZZ_CHECK_H
#define OUTBOARD_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
