// SPDX-License-Identifier: BSD-3-Clause
#include "base/fault_point.h"

#ifdef OUTBOARD_FAULT_POINTS

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEATHS   16u
#define NAME_LEN 32u

static struct death {
    char name[NAME_LEN];
    unsigned passes_left;
} deaths[DEATHS];
static unsigned death_count;

static void read_death(const char *text, unsigned long long life)
{
    struct death death;
    unsigned long long first, last;
    if (death_count < DEATHS &&
        sscanf(text, "%31[^:]:%u:%llu-%llu", death.name, &death.passes_left, &first, &last) == 4 &&
        life >= first && life <= last)
        deaths[death_count++] = death;
}

/* A cell forgets the environment, and a process that waits in its cell is armed there. */
static char *faults;

__attribute__((constructor)) static void keep_faults(void)
{
    const char *text = getenv("OUTBOARD_FAULTS");
    faults = text ? strdup(text) : NULL;
}

void fault_points_arm(unsigned long long life)
{
    const char *text = faults;
    while (text && *text) {
        read_death(text, life);
        const char *comma = strchr(text, ',');
        text = comma ? comma + 1 : NULL;
    }
}

/* A cell allows no kill(2). A trap needs none, and no handler of ours sees it. */
void fault_point(const char *name)
{
    for (unsigned i = 0; i < death_count; i++)
        if (strcmp(deaths[i].name, name) == 0 && --deaths[i].passes_left == 0)
            __builtin_trap();
}

#endif
