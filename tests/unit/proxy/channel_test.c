// SPDX-License-Identifier: BSD-3-Clause
/* Channels that come, go and come again: channel.c. */
#include "proxy/channel.h"

#include "caller.h"
#include "support.h"

#include <string.h>
#include <sys/socket.h>

#include "proxy/flow.h"

#define LISTENS "-c unix-listen:@/channel -s cat=exec:cat"

static struct proxy *proxy_of(struct caller *caller)
{
    return &caller->lab.ends[LAB_OURS].proxy;
}

static bool has_stopped(void *argument)
{
    return proxy_of(argument)->stop;
}

static void a_proxy_ends_with_the_channel_that_it_was_given(void **state)
{
    struct caller caller;
    caller_start(&caller, "-s cat=exec:cat");
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    shutdown(caller.lab.ends[LAB_THE_OTHER].channel, SHUT_RDWR);
    caller_until(&caller, has_stopped, &caller);
    assert_true(list_empty(&proxy_of(&caller)->flows));
    caller_stop(&caller);
}

static bool is_down(void *argument)
{
    return ob_session_tag(proxy_of(argument)->session) == 0;
}

static bool is_listening(void *argument)
{
    char text[CHANNEL_TEXT_MAX + 200];
    channel_describe(proxy_of(argument)->channel, text, sizeof(text));
    return strstr(text, "/channel") != NULL;
}

static void a_listener_takes_the_next_peer(void **state)
{
    struct caller caller;
    caller_start(&caller, LISTENS);
    uint64_t first = ob_session_tag(caller.session);
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    shutdown(caller.lab.ends[LAB_THE_OTHER].channel, SHUT_RDWR);
    caller_until(&caller, is_down, &caller);
    assert_true(list_empty(&proxy_of(&caller)->flows));
    caller_until(&caller, is_listening, &caller);
    caller_reconnect(&caller);
    assert_int_not_equal(ob_session_tag(caller.session), first);
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    caller_say(&caller, "again", 5);
    caller_hear(&caller, 5);
    assert_memory_equal(caller.heard, "again", 5);
    caller_stop(&caller);
}

/* What is on its way when the channel goes belongs to nobody afterwards. */
static void bytes_of_a_session_do_not_reach_the_next(void **state)
{
    static const uint8_t bytes[10000];
    struct caller caller;
    caller_start(&caller, LISTENS);
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    caller_say(&caller, bytes, sizeof(bytes));
    caller_reconnect(&caller);
    assert_int_equal(caller_open(&caller, "cat", ""), CALL_ACCEPTED);
    caller_say(&caller, "new", 3);
    caller_hear(&caller, 3);
    assert_memory_equal(caller.heard, "new", 3);
    assert_int_equal(ob_stream_shutdown(caller.stream), 0);
    assert_int_equal(caller.heard_len, 3);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_proxy_ends_with_the_channel_that_it_was_given),
        TEST(a_listener_takes_the_next_peer),
        TEST(bytes_of_a_session_do_not_reach_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
