// SPDX-License-Identifier: BSD-3-Clause
/* Lets an allocation of the code under test fail: malloc, calloc, strdup and tsearch(3). */
#ifndef OUTBOARD_TESTS_FAILING_ALLOC_H
#define OUTBOARD_TESTS_FAILING_ALLOC_H

#include <stdbool.h>

/* The nth allocation from now fails, counted from 1; 0: none does. */
void fail_allocation(unsigned nth);
/* Whether the allocation that was to fail has been asked for; none fails any more. */
bool allocation_failed(void);

#endif
