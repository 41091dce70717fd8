// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/fault.h>

#include "support.h"

#include <errno.h>
#include <string.h>

static void the_first_cause_is_kept(void **state)
{
    struct ob_fault fault = {0};
    assert_int_equal(ob_fault_set(&fault, -EINVAL, "BAR %u is %s", 3, "odd"), -EINVAL);
    assert_int_equal(ob_fault_set(&fault, -EPROTO, "refused"), -EPROTO);
    assert_int_equal(fault.code, -EINVAL);
    assert_string_equal(fault.text, "BAR 3 is odd");
}

static void nobody_needs_to_listen(void **state)
{
    assert_int_equal(ob_fault_set(NULL, -ENOMEM, "none"), -ENOMEM);
}

static void a_long_sentence_is_cut(void **state)
{
    struct {
        struct ob_fault fault;
        char behind;
    } record = {.behind = 'x'};
    ob_fault_set(&record.fault, -EINVAL, "%0*d", 2 * OB_FAULT_TEXT_LEN, 7);
    assert_int_equal(strlen(record.fault.text), OB_FAULT_TEXT_LEN - 1);
    assert_int_equal(record.behind, 'x');
}

static void bytes_of_a_peer_become_printable(void **state)
{
    struct ob_fault fault = {0};
    ob_fault_set(&fault, -EINVAL, "not '%s'", "x'\nforged\x1b[2J");
    assert_string_equal(fault.text, "not 'x'\\012forged\\033[2J'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_cause_is_kept),
        TEST(nobody_needs_to_listen),
        TEST(a_long_sentence_is_cut),
        TEST(bytes_of_a_peer_become_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
