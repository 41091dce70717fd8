// SPDX-License-Identifier: BSD-3-Clause
/* What `outboard proxy status` shows, for people and as JSON: status.c. */
#include "proxy/status.h"

#include "caller.h"
#include "support.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_part(const struct caller *caller, bool json, const char *part)
{
    size_t len;
    char *text = status_text(&caller->lab.ends[LAB_OURS].proxy, json, &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    for (size_t i = 0; i < len; i++)
        if (!isprint((unsigned char)text[i]) && text[i] != '\n')
            fail_msg("byte %zu of the status is 0x%02x", i, (unsigned)text[i]);
    if (!strstr(text, part))
        fail_msg("no '%s' in: %s", part, text);
    free(text);
}

static void a_session_is_shown_with_its_tag(void **state)
{
    struct caller caller;
    char part[100];
    caller_start(&caller, "");
    uint64_t tag = ob_session_tag(caller.session);
    snprintf(part, sizeof(part), "up: session %016llx over fd:", (unsigned long long)tag);
    expect_part(&caller, false, part);
    expect_part(&caller, true, part);
    snprintf(part, sizeof(part), "\"up\": true, \"tag\": \"%016llx\"", (unsigned long long)tag);
    expect_part(&caller, true, part);
    expect_part(&caller, true, "\"streams\": []}\n");
    caller_stop(&caller);
}

/* A name is the peer's: whatever is in it, a terminal and a parser of JSON get text. */
static void a_stream_is_shown_whatever_its_name_has(void **state)
{
    static const char name[] = "tcp:127.0.0.1:1";
    struct caller caller;
    caller_start(&caller, "-s a\"b\\c=exec:cat");
    assert_int_equal(caller_open(&caller, "a\"b\\c", ""), CALL_ACCEPTED);
    expect_part(&caller, true, "\"service\": \"a\\\"b\\\\c\", \"opened_by\": \"peer\"");
    expect_part(&caller, false, "  a\"b\\c\n");
    assert_int_equal(caller_open(&caller, name, ""), CALL_REFUSED); /* and leaves no stream */
    expect_part(&caller, true, "\"streams\": []}\n");
    caller_stop(&caller);
}

static bool is_shown(void *argument)
{
    struct caller *caller = argument;
    size_t len;
    char *text = status_text(&caller->lab.ends[LAB_OURS].proxy, false, &len);
    bool is_there = strstr(text, "the other end listens");
    free(text);
    return is_there;
}

static void addresses_of_the_other_end_are_shown_safely(void **state)
{
    struct caller caller;
    caller_start(&caller, "-R unix:@/there:cat -s cat=exec:cat");
    expect_part(&caller, false, "/there for cat: not yet: ");
    expect_part(&caller, true, "\"service\": \"cat\", \"listens\": false, \"why\": \"");
    caller_take(&caller);
    static const char address[] = "unix:/\033[2J\"\n";
    ob_stream_write(caller.asked, address, strlen(address));
    caller_until(&caller, is_shown, &caller);
    expect_part(&caller, false, "unix:/?[2J\" for cat: the other end listens\n");
    expect_part(&caller, true,
                "\"address\": \"unix:/\\u001b[2J\\\"\", \"service\": \"cat\", "
                "\"listens\": true, \"why\": \"\"");
    caller_stop(&caller);
}

static bool is_down(void *argument)
{
    return ob_session_tag(((struct caller *)argument)->lab.ends[LAB_OURS].proxy.session) == 0;
}

static void a_session_that_has_ended_is_counted(void **state)
{
    struct caller caller;
    caller_start(&caller, "");
    ob_session_end(caller.session, OB_REASON_SHUTDOWN, 0);
    caller_until(&caller, is_down, &caller);
    expect_part(&caller, false, "down: ");
    expect_part(&caller, false, "sessions     1; the last one that ended: ");
    expect_part(&caller, true, "\"up\": false, \"tag\": \"0000000000000000\", \"up_seconds\": 0,");
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_shown_with_its_tag),
        TEST(a_stream_is_shown_whatever_its_name_has),
        TEST(addresses_of_the_other_end_are_shown_safely),
        TEST(a_session_that_has_ended_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
