// SPDX-License-Identifier: BSD-3-Clause
/* Services that the peer may open, and why not others: service.c. */
#include "proxy/service.h"

#include "caller.h"
#include "support.h"

#include <string.h>

#include "proxy/reason.h"
#include "proxy/run.h"

#define DECLARED "-s cat=exec:cat -s term=pty:cat -s web=unix:@/nobody"

static void expect(struct caller *caller, const char *service, const char *metadata,
                   uint32_t reason)
{
    enum call_state state = caller_open(caller, service, metadata);
    enum call_state right = reason == OB_REASON_NONE ? CALL_ACCEPTED : CALL_REFUSED;
    if (state != right || (state == CALL_REFUSED && caller->reason != reason))
        fail_msg("'%s' with '%s': state %d, reason %u, expected reason %u", service, metadata,
                 (int)state, caller->reason, reason);
}

static void only_what_is_declared_exists(void **state)
{
    struct caller caller;
    caller_start(&caller, DECLARED);
    expect(&caller, "cat", "", OB_REASON_NONE);
    expect(&caller, "term", "", OB_REASON_NONE);
    expect(&caller, "web", "", REASON_NAME_UNKNOWN);
    expect(&caller, "ca", "", OB_REASON_NO_SERVICE);
    expect(&caller, "cat2", "", OB_REASON_NO_SERVICE);
    expect(&caller, "CAT", "", OB_REASON_NO_SERVICE);
    caller_stop(&caller);
}

static void a_name_with_a_zero_is_no_name(void **state)
{
    struct caller caller;
    caller_start(&caller, DECLARED);
    assert_int_equal(caller_open_bytes(&caller, "cat\0dog", 7, ""), CALL_REFUSED);
    assert_int_equal(caller.reason, OB_REASON_NO_SERVICE);
    caller_stop(&caller);
}

static void a_declared_command_is_run_by_metadata(void **state)
{
    struct caller caller;
    caller_start(&caller, DECLARED);
    expect(&caller, "cat", RUN_METADATA, OB_REASON_NONE);
    expect(&caller, RUN_SERVICE_3_PREFIX "cat", RUN_METADATA, OB_REASON_NONE);
    expect(&caller, RUN_SERVICE_3_PREFIX "cat", "", OB_REASON_NO_SERVICE);
    expect(&caller, RUN_SERVICE_3_PREFIX "none", RUN_METADATA, OB_REASON_NO_SERVICE);
    expect(&caller, RUN_SERVICE_3_PREFIX, RUN_METADATA, OB_REASON_NO_SERVICE);
    expect(&caller, "web", RUN_METADATA, OB_REASON_NO_SERVICE); /* no command */
    caller_stop(&caller);
}

static void nothing_else_is_run_unless_it_is_allowed(void **state)
{
    static const char *const names[] = {RUN_SERVICE, RUN_SERVICE_2, RUN_SERVICE_3};
    struct caller caller;
    caller_start(&caller, DECLARED);
    for (unsigned i = 0; i < 3; i++)
        expect(&caller, names[i], "", OB_REASON_FORBIDDEN);
    caller_stop(&caller);
    caller_start(&caller, "--allow-run");
    for (unsigned i = 0; i < 3; i++)
        expect(&caller, names[i], "", OB_REASON_NONE);
    caller_stop(&caller);
}

static void destinations_are_allowed_one_by_one(void **state)
{
    struct caller caller;
    caller_start(&caller, "--allow-connect=127.0.0.1:1");
    expect(&caller, "tcp:127.0.0.1:1", "", REASON_REFUSED); /* nobody listens at port 1 */
    expect(&caller, "tcp:127.0.0.1:2", "", OB_REASON_FORBIDDEN);
    expect(&caller, "tcp:127.0.0.2:1", "", OB_REASON_FORBIDDEN);
    expect(&caller, "vsock:1:1", "", OB_REASON_FORBIDDEN);
    expect(&caller, "unix:/dev/log", "", OB_REASON_FORBIDDEN);
    expect(&caller, "tcp:nonsense", "", OB_REASON_FORBIDDEN);
    expect(&caller, ":", "", OB_REASON_FORBIDDEN);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_is_declared_exists),          TEST(a_name_with_a_zero_is_no_name),
        TEST(a_declared_command_is_run_by_metadata), TEST(nothing_else_is_run_unless_it_is_allowed),
        TEST(destinations_are_allowed_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
