// SPDX-License-Identifier: BSD-3-Clause
#include "base/number.h"

#include <errno.h>
#include <stdlib.h>

int number_parse(const char *text, int base, uint64_t max, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, base);
    if (*text < '0' || *text > '9' || *end || errno || number > max)
        return -EINVAL;
    *ret_number = number;
    return 0;
}
