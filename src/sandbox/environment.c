// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/environment.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include "base/auto.h"

/* The kernel refuses longer ones (execve(2)). */
#define LONGEST (6u << 20)

static struct {
    char *start;
    size_t len; /* 0: not found */
} strings;

/* The kernel puts the strings of the environment between the last argument and the program's name. The
 * variables of the C library name no strings there that were replaced meanwhile. */
__attribute__((constructor)) static void find_strings(int argc, char **argv)
{
    char *end = (char *)getauxval(AT_EXECFN);
    char *start = argc > 0 ? argv[argc - 1] + strlen(argv[argc - 1]) + 1 : NULL;
    if (start && start < end && (size_t)(end - start) <= LONGEST) {
        strings.start = start;
        strings.len = (size_t)(end - start);
    }
}

void environment_forget(void)
{
    const char *given = getenv("TZ");
    AUTO_FREE char *zone = strdup(given ? given : ":/etc/localtime");
    clearenv();
    if (strings.len > 0)
        explicit_bzero(strings.start, strings.len);
    if (zone)
        setenv("TZ", zone, 1);
    tzset();
}
