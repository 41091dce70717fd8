// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/reason.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static void an_errno_has_the_reason_that_people_can_act_on(void **state)
{
    static const struct {
        int err;
        uint32_t connects, listens;
    } cases[] = {
        {-ECONNREFUSED, REASON_REFUSED, REASON_REFUSED},
        {-ENOENT, REASON_NAME_UNKNOWN, REASON_NAME_UNKNOWN},
        {-ETIMEDOUT, OB_REASON_TIMEOUT, OB_REASON_TIMEOUT},
        {-EACCES, OB_REASON_FORBIDDEN, REASON_ADDRESS_DENIED},
        {-EPERM, OB_REASON_FORBIDDEN, REASON_ADDRESS_DENIED},
        {-EADDRINUSE, OB_REASON_UNREACHABLE, REASON_ADDRESS_BUSY},
        {-EADDRNOTAVAIL, OB_REASON_UNREACHABLE, REASON_ADDRESS_FOREIGN},
        {-ENOTCONN, OB_REASON_TRANSPORT, OB_REASON_TRANSPORT},
        {-ESHUTDOWN, OB_REASON_SHUTDOWN, OB_REASON_SHUTDOWN},
        {-EAGAIN, OB_REASON_BUSY, OB_REASON_BUSY},
        {-ENOMEM, OB_REASON_NO_MEMORY, OB_REASON_NO_MEMORY},
        {-EHOSTUNREACH, OB_REASON_UNREACHABLE, OB_REASON_UNREACHABLE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(reason_of_errno(cases[i].err), cases[i].connects);
        assert_int_equal(reason_of_listen_errno(cases[i].err), cases[i].listens);
    }
}

static void every_reason_has_a_text(void **state)
{
    for (uint32_t reason = 0; reason < 40; reason++)
        assert_true(strlen(reason_text(reason)) > 0);
    for (uint32_t reason = REASON_REFUSED; reason <= REASON_ADDRESS_DENIED; reason++)
        assert_string_not_equal(reason_text(reason), reason_text(OB_REASON_APPLICATION));
    assert_true(strlen(reason_text(UINT32_MAX)) > 0); /* a later peer's */
}

static void what_a_person_must_change_is_said(void **state)
{
    assert_non_null(strstr(reason_session_text(OB_REASON_KEY, false), "give --key-file"));
    assert_non_null(strstr(reason_session_text(OB_REASON_KEY, true), "the same --key-file"));
    assert_non_null(strstr(reason_session_text(OB_REASON_VERSION, false), "the same release"));
    assert_true(reason_is_lasting(OB_REASON_KEY) && reason_is_lasting(OB_REASON_VERSION));
    assert_false(reason_is_lasting(OB_REASON_TIMEOUT) || reason_is_lasting(OB_REASON_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_errno_has_the_reason_that_people_can_act_on),
        TEST(every_reason_has_a_text),
        TEST(what_a_person_must_change_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
