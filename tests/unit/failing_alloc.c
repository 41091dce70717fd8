// SPDX-License-Identifier: BSD-3-Clause
#include "failing_alloc.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* The names that the linker's --wrap gives: __wrap_x is called instead of x, which is __real_x. */
// NOLINTBEGIN(bugprone-reserved-identifier)
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
char *__real_strdup(const char *string);
void *__real_tsearch(const void *key, void **root, __compar_fn_t compare);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
char *__wrap_strdup(const char *string);
void *__wrap_tsearch(const void *key, void **root, __compar_fn_t compare);
// NOLINTEND(bugprone-reserved-identifier)

static unsigned countdown;
static bool failed;

void fail_allocation(unsigned nth)
{
    countdown = nth;
    failed = false;
}

bool allocation_failed(void)
{
    countdown = 0;
    return failed;
}

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

char *__wrap_strdup(const char *string)
{
    return fails() ? NULL : __real_strdup(string);
}

void *__wrap_tsearch(const void *key, void **root, __compar_fn_t compare)
{
    return fails() ? NULL : __real_tsearch(key, root, compare);
}
