// SPDX-License-Identifier: BSD-3-Clause
/* What a process in a cell has left of its launcher's environment. This program executes itself, because the
 * kernel lays strings out at exec. */
#include "sandbox/environment.h"

#include "child.h"

#include <string.h>
#include <time.h>

#define SECRET "OUTBOARD_TEST_SECRET=hush hush"

/* The strings as they lie beside the stack; pointers to them, which another library has kept. */
static int look(char *const *environment)
{
    char *const secret = environment[0], *const zone = environment[1];
    CHILD_ASSERT(strcmp(secret, SECRET) == 0);
    setenv("OUTBOARD_TEST_LATER", "1", 1);
    environment_forget();
    CHILD_ASSERT(!getenv("OUTBOARD_TEST_SECRET") && !getenv("OUTBOARD_TEST_LATER"));
    for (size_t i = 0; i < sizeof(SECRET); i++)
        CHILD_ASSERT(secret[i] == '\0');
    CHILD_ASSERT(zone[0] == '\0');
    CHILD_ASSERT(strcmp(getenv("TZ"), "TEST-5") == 0);
    CHILD_ASSERT(timezone == -5 * 3600);
    return 0;
}

static void execute_again(void)
{
    char *const arguments[] = {(char *)"environment_test", (char *)"look", NULL};
    char *const environment[] = {(char *)SECRET, (char *)"TZ=TEST-5", NULL};
    execve("/proc/self/exe", arguments, environment);
}

static void secrets_are_overwritten_and_the_time_zone_stays(void **state)
{
    int status = child_status(execute_again);
    assert_int_equal(status, 0);
}

static void forget(void)
{
    unsetenv("TZ");
    environment_forget();
    CHILD_ASSERT(strcmp(getenv("TZ"), ":/etc/localtime") == 0);
}

static void without_a_time_zone_the_machines_is_named(void **state)
{
    child_succeeds(forget);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(secrets_are_overwritten_and_the_time_zone_stays),
        TEST(without_a_time_zone_the_machines_is_named),
    };
    if (argc > 1 && strcmp(argv[1], "look") == 0)
        return look(environ);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
