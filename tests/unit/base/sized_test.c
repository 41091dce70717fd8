// SPDX-License-Identifier: BSD-3-Clause
#include "base/sized.h"

#include "support.h"

#include <errno.h>
#include <string.h>

/* A struct as its first version had it, as the library has it, and as a later one will. */
struct first {
    size_t size;
    uint32_t a, b;
};
struct own {
    size_t size;
    uint32_t a, b;
    uint64_t c;
};
struct later {
    size_t size;
    uint32_t a, b;
    uint64_t c, d;
};

#define LEAST SIZED_UP_TO(struct own, b)

static int copy(const void *given, struct own *ret_own, struct ob_fault *fault)
{
    memset(ret_own, 0xff, sizeof(*ret_own));
    return sized_copy(given, LEAST, ret_own, sizeof(*ret_own), "thing", fault);
}

static void a_shorter_struct_is_completed_with_zeroes(void **state)
{
    const struct first given = {.size = sizeof(given), .a = 1, .b = 2};
    const struct own expected = {.size = sizeof(expected), .a = 1, .b = 2};
    struct own own;
    assert_int_equal(LEAST, sizeof(given));
    assert_int_equal(copy(&given, &own, NULL), 0);
    assert_memory_equal(&own, &expected, sizeof(own));
    assert_int_equal(own.a, given.a);
    assert_int_equal(own.b, given.b);
}

static void a_struct_of_the_same_version_is_copied(void **state)
{
    const struct own given = {.size = sizeof(given), .a = 1, .b = 2, .c = 3};
    struct own own;
    assert_int_equal(copy(&given, &own, NULL), 0);
    assert_memory_equal(&own, &given, sizeof(own));
}

static void a_longer_struct_must_not_use_what_is_not_known(void **state)
{
    struct later given = {.size = sizeof(given), .a = 1, .b = 2, .c = 3};
    struct ob_fault fault = {0};
    struct own own;
    assert_int_equal(copy(&given, &own, NULL), 0);
    assert_int_equal(own.a, given.a);
    assert_int_equal(own.b, given.b);
    assert_int_equal(own.c, given.c);
    assert_int_equal(own.size, sizeof(own));
    assert_true(own.size < given.size);
    given.d = UINT64_C(1) << 63;
    assert_int_equal(copy(&given, &own, &fault), -E2BIG);
    assert_non_null(strstr(fault.text, "thing: the program uses fields"));
}

static void a_size_that_can_not_be_is_told(void **state)
{
    struct first given = {.size = 0, .a = 1};
    struct ob_fault fault = {0};
    struct own own;
    assert_int_equal(copy(&given, &own, &fault), -EINVAL);
    assert_string_equal(fault.text, "thing.size is not set: set it to sizeof(struct thing)");
    fault = (struct ob_fault){0};
    given.size = sizeof(given) - 1;
    assert_int_equal(copy(&given, &own, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "got 15, expected at least 16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_shorter_struct_is_completed_with_zeroes),
        TEST(a_struct_of_the_same_version_is_copied),
        TEST(a_longer_struct_must_not_use_what_is_not_known),
        TEST(a_size_that_can_not_be_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
