// SPDX-License-Identifier: BSD-3-Clause
#include "program/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* The value of a variable as a number; 0: it is not set. */
static uint64_t number_of(const char *name)
{
    const char *value = getenv(name);
    uint64_t number;
    return value && number_parse(value, 10, INT_MAX, &number) == 0 ? number : 0;
}

int activation_take(struct ob_fault *fault)
{
    uint64_t pid = number_of("LISTEN_PID"), count = number_of("LISTEN_FDS");
    if (pid != (uint64_t)getpid() || count == 0)
        return -ENOENT;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (count > 1)
        return ob_fault_set(fault, -EINVAL,
                            "LISTEN_FDS: got %u sockets, expected 1: a device has one; list one "
                            "in the .socket unit",
                            (unsigned)count);
    if (fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0)
        return ob_fault_set(fault, -EINVAL, "LISTEN_FDS: descriptor %d is not open", FIRST_FD);
    return FIRST_FD;
}
