// SPDX-License-Identifier: BSD-3-Clause
/* What every unit test includes: cmocka, and a check that no test leaks a descriptor. */
#ifndef OUTBOARD_TESTS_SUPPORT_H
#define OUTBOARD_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <poll.h>

/* How many descriptors this process has open. */
static inline int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static inline int descriptors_remember(void **state)
{
    *state = (void *)(intptr_t)open_descriptors(); // NOLINT(performance-no-int-to-ptr)
    return 0;
}

/* What a peer sent may be closed by a thread. Nobody tells when that is done, so this looks for up
 * to 20 s. */
static inline int descriptors_compare(void **state)
{
    for (unsigned i = 0; i < 20000 && open_descriptors() > (int)(intptr_t)*state; i++)
        poll(NULL, 0, 1);
    return open_descriptors() == (int)(intptr_t)*state ? 0 : -1;
}

/* A test that fails when it ends with more or fewer descriptors than it began with. */
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, descriptors_remember, descriptors_compare)

#endif
