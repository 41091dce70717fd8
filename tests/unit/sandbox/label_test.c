// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/label.h"

#include "base/limits.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No kernel has a profile of this name. */
#define UNKNOWN "outboard-test-of-a-profile-that-is-not-loaded"

static char *no_arguments[] = {"test", NULL};

static void a_context_has_a_user_a_role_and_a_type(void **state)
{
    assert_true(label_is_context("u:r:t"));
    assert_true(label_is_context("system_u:system_r:outboard_nvme_t:s0:c1,c2"));
    assert_false(label_is_context("outboard-nvme"));
    assert_false(label_is_context("outboard-nvme//a:b"));
    assert_false(label_is_context(":namespace:profile"));
    assert_false(label_is_context(""));
}

static void a_label_has_a_length(void **state)
{
    char label[LIMIT_LABEL_LEN + 2];
    struct ob_fault fault = {0};
    assert_int_equal(label_take("", no_arguments, &fault), -EINVAL);
    assert_string_equal(fault.text, "--label: got 0 bytes, expected 1 to 1024");
    memset(label, 'x', sizeof(label) - 1);
    label[sizeof(label) - 1] = '\0';
    fault = (struct ob_fault){0};
    assert_int_equal(label_take(label, no_arguments, &fault), -EINVAL);
    assert_string_equal(fault.text, "--label: got 1025 bytes, expected 1 to 1024");
}

/* The kernel either has no AppArmor, or does not know the profile. */
static void a_label_that_is_refused_is_named_with_advice(void **state)
{
    struct ob_fault fault = {0};
    assert_true(label_take(UNKNOWN, no_arguments, &fault) < 0);
    assert_non_null(strstr(fault.text, "--label=" UNKNOWN ": got '"));
    assert_true(strstr(fault.text, "; boot with AppArmor") ||
                strstr(fault.text, "; load the profile") ||
                strstr(fault.text, "; allow the change"));
    fault = (struct ob_fault){0};
    assert_true(label_take("no_u:no_r:no_t", no_arguments, &fault) < 0);
    assert_non_null(strstr(fault.text, "SELinux"));
}

static void mark(int pid)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", pid);
    assert_int_equal(setenv("OUTBOARD_LABELLED", text, 1), 0);
}

static void the_process_that_was_executed_again_goes_on(void **state)
{
    mark((int)getpid());
    assert_int_equal(label_take(UNKNOWN, no_arguments, NULL), 0);
    assert_null(getenv("OUTBOARD_LABELLED"));
    assert_true(label_take(UNKNOWN, no_arguments, NULL) < 0);
}

static void the_mark_of_another_process_is_none(void **state)
{
    mark((int)getppid());
    assert_true(label_take(UNKNOWN, no_arguments, NULL) < 0);
    mark((int)getpid());
    setenv("OUTBOARD_LABELLED", "x", 1);
    assert_true(label_take(UNKNOWN, no_arguments, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_context_has_a_user_a_role_and_a_type),
        TEST(a_label_has_a_length),
        TEST(a_label_that_is_refused_is_named_with_advice),
        TEST(the_process_that_was_executed_again_goes_on),
        TEST(the_mark_of_another_process_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
