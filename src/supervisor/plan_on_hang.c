// SPDX-License-Identifier: BSD-3-Clause
/* The names of policies for devices that hang. */
#include <errno.h>
#include <string.h>

#include "supervisor/plan.h"

static const char *const on_hang_names[] = {
    [PLAN_FAIL] = "fail",
    [PLAN_KILL] = "kill",
    [PLAN_PAUSE] = "pause",
};

int plan_parse_on_hang(const char *text, enum plan_on_hang *ret_on_hang)
{
    for (size_t i = 0; i < sizeof(on_hang_names) / sizeof(on_hang_names[0]); i++)
        if (strcmp(text, on_hang_names[i]) == 0) {
            *ret_on_hang = (enum plan_on_hang)i;
            return 0;
        }
    return -EINVAL;
}

const char *plan_on_hang_name(enum plan_on_hang on_hang)
{
    return on_hang_names[on_hang];
}
