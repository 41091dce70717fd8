// SPDX-License-Identifier: BSD-3-Clause
/* How the options become a session, and whom its events are for: tenant.c. */
#include "proxy/tenant.h"

#include "caller.h"
#include "support.h"

#include <string.h>

#include "os/clock.h"
#include "proxy/flow.h"

#define NS_PER_S UINT64_C(1000000000)

/* How long the proxy is quiet at most before its session does something of its own accord. */
static uint64_t longest_silence_s(const char *words)
{
    struct caller caller;
    caller_start(&caller, words);
    uint64_t deadline = ob_session_deadline(caller.lab.ends[LAB_OURS].proxy.session);
    uint64_t now = clock_now_ns();
    caller_stop(&caller);
    if (deadline == OB_SESSION_NEVER)
        return OB_SESSION_NEVER;
    return deadline < now ? 0 : (deadline - now + NS_PER_S - 1) / NS_PER_S;
}

/* Nobody is ended for a silence in which nobody asked. */
static void an_idle_timeout_asks_for_signs_of_life_before(void **state)
{
    assert_true(longest_silence_s("--idle-timeout=900") <= 300);
    assert_true(longest_silence_s("--idle-timeout=900 --keepalive=600") <= 300);
    assert_true(longest_silence_s("--idle-timeout=900 --keepalive=200") <= 200);
    assert_true(longest_silence_s("--keepalive=600") <= 600);
}

static void without_them_a_session_may_be_silent_for_ever(void **state)
{
    assert_int_equal(longest_silence_s(""), OB_SESSION_NEVER);
}

static unsigned count_flows(struct caller *caller)
{
    const struct proxy *proxy = &caller->lab.ends[LAB_OURS].proxy;
    unsigned count = 0;
    for (const struct list *link = proxy->flows.next; link != &proxy->flows; link = link->next)
        count++;
    return count;
}

static bool has_one_flow(void *argument)
{
    return count_flows(argument) == 1;
}

/* Each event reaches the flow of its own stream, and no other. */
static void a_reset_ends_the_flow_of_its_stream(void **state)
{
    struct caller caller;
    caller_start(&caller, "-s cat=exec:cat");
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    struct ob_stream *first = caller_keep(&caller);
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    assert_int_equal(count_flows(&caller), 2);
    ob_stream_reset(first, OB_REASON_FAILED);
    caller_until(&caller, has_one_flow, &caller);
    caller_say(&caller, "still", 5);
    caller_hear(&caller, 5);
    assert_memory_equal(caller.heard, "still", 5);
    caller_stop(&caller);
}

static void a_window_is_as_large_as_the_option_says(void **state)
{
    struct caller caller;
    struct ob_stream_stats stats;
    caller_start(&caller, "--window=5000 -s cat=exec:cat");
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    ob_stream_stats(caller.stream, &stats);
    assert_int_equal(stats.credit, 5000);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_timeout_asks_for_signs_of_life_before),
        TEST(without_them_a_session_may_be_silent_for_ever),
        TEST(a_reset_ends_the_flow_of_its_stream),
        TEST(a_window_is_as_large_as_the_option_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
