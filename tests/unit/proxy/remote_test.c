// SPDX-License-Identifier: BSD-3-Clause
/* -R: listening at the other end, where that allows it, and what is said where it can't. */
#include "proxy/remote.h"

#include "caller.h"
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "proxy/reason.h"

#define MUCH (1u << 20) /* more than a window */

struct view {
    struct lab *lab;
    struct remote_view seen;
};

static void see(void *argument, const struct remote_view *view)
{
    *(struct remote_view *)argument = *view;
}

static bool is_decided(void *argument)
{
    struct view *view = argument;
    remote_each(&view->lab->ends[LAB_OURS].proxy, see, &view->seen);
    return view->seen.listens || (view->seen.why && strstr(view->seen.why, "not allowed"));
}

static void a_connection_there_reaches_a_service_here(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "--trust-peer");
    lab_until(&lab, is_decided, &view);
    assert_true(view.seen.listens);
    assert_string_equal(view.seen.service, "cat");
    int client = lab_connect(&lab, "there");
    lab_send(client, "echo", 4);
    lab_expect_text(&lab, client, "echo");
    close(client);
    lab_stop(&lab);
}

static void an_end_that_does_not_allow_it_says_so(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "-s other=exec:cat");
    lab_until(&lab, is_decided, &view);
    assert_false(view.seen.listens);
    lab_stop(&lab);
}

static bool listens_no_more(void *argument)
{
    return list_empty(&((struct lab *)argument)->ends[LAB_THE_OTHER].proxy.listeners);
}

static void it_ends_with_the_session(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    struct stat status;
    char path[108];
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "--trust-peer");
    lab_until(&lab, is_decided, &view);
    assert_int_equal(stat(lab_path(&lab, "there", path), &status), 0);
    shutdown(lab.ends[LAB_OURS].channel, SHUT_RDWR);
    lab_until(&lab, listens_no_more, &lab);
    assert_int_equal(stat(path, &status), -1);
    lab_stop(&lab);
}

/* Of a caller that listens for the proxy. */
static bool is_decided_there(void *argument)
{
    struct view *view = argument;
    remote_each(&view->lab->ends[LAB_OURS].proxy, see, &view->seen);
    return view->seen.listens;
}

static bool is_ended_there(void *argument)
{
    struct view *view = argument;
    remote_each(&view->lab->ends[LAB_OURS].proxy, see, &view->seen);
    return !view->seen.listens;
}

struct speech {
    struct caller *caller;
    size_t left;
};

static bool is_said(void *argument)
{
    static const uint8_t bytes[4096];
    struct speech *speech = argument;
    ssize_t len = speech->left < sizeof(bytes) ? (ssize_t)speech->left : (ssize_t)sizeof(bytes);
    len = ob_stream_write(speech->caller->asked, bytes, (size_t)len);
    if (len > 0)
        speech->left -= (size_t)len;
    return speech->left == 0;
}

/* More than the window: all of it is read, or the end behind it would not come. */
static void what_follows_the_address_is_read_and_dropped(void **state)
{
    struct caller caller;
    struct view view = {.lab = &caller.lab};
    struct speech speech = {.caller = &caller, .left = MUCH};
    caller_start(&caller, "-R unix:@/there:cat -s cat=exec:cat");
    caller_take(&caller);
    assert_string_equal(caller.service, REMOTE_SERVICE);
    assert_int_equal(ob_stream_write(caller.asked, "unix:/one\nunix:/two\n", 20), 20);
    caller_until(&caller, is_decided_there, &view);
    assert_string_equal(view.seen.address, "unix:/one");
    caller_until(&caller, is_said, &speech);
    assert_true(is_decided_there(&view));
    assert_string_equal(view.seen.address, "unix:/one");
    assert_int_equal(ob_stream_shutdown(caller.asked), 0);
    caller_until(&caller, is_ended_there, &view);
    caller_stop(&caller);
}

static void an_address_may_be_as_long_as_any(void **state)
{
    struct caller caller;
    struct view view = {.lab = &caller.lab};
    char text[2 * ADDRESS_TEXT_MAX];
    memset(text, 'x', sizeof(text));
    caller_start(&caller, "-R unix:@/there:cat -s cat=exec:cat");
    caller_take(&caller);
    ob_stream_write(caller.asked, text, sizeof(text));
    caller_until(&caller, is_decided_there, &view);
    assert_int_equal(strlen(view.seen.address), ADDRESS_TEXT_MAX - 1);
    caller_stop(&caller);
}

static bool says_busy(void *argument)
{
    struct view *view = argument;
    remote_each(&view->lab->ends[LAB_OURS].proxy, see, &view->seen);
    return !view->seen.listens && strcmp(view->seen.why, reason_text(OB_REASON_BUSY)) == 0;
}

static void a_refusal_is_shown(void **state)
{
    struct caller caller;
    struct view view = {.lab = &caller.lab};
    caller_start(&caller, "-R unix:@/there:cat -s cat=exec:cat");
    caller_take_none(&caller, OB_REASON_BUSY);
    caller_until(&caller, says_busy, &view);
    caller_stop(&caller);
}

static void more_listeners_than_the_limit_are_refused(void **state)
{
    struct caller caller;
    struct ob_stream *streams[LIMIT_PEER_LISTENERS];
    char metadata[CALLER_NAME];
    caller_start(&caller, "--trust-peer");
    for (unsigned i = 0; i < LIMIT_PEER_LISTENERS; i++) {
        snprintf(metadata, sizeof(metadata), "unix:%s/%u", caller.lab.folder, i);
        assert_int_equal(caller_open(&caller, REMOTE_SERVICE, metadata), CALL_ACCEPTED);
        streams[i] = caller_keep(&caller);
    }
    snprintf(metadata, sizeof(metadata), "unix:%s/more", caller.lab.folder);
    assert_int_equal(caller_open(&caller, REMOTE_SERVICE, metadata), CALL_REFUSED);
    assert_int_equal(caller.reason, OB_REASON_BUSY);
    for (unsigned i = 0; i < LIMIT_PEER_LISTENERS; i++)
        ob_stream_free(streams[i]);
    caller_stop(&caller);
}

static void metadata_that_are_no_address_are_refused(void **state)
{
    static const char *const wrong[] = {"", "nonsense", "vsock:1:2 a"};
    struct caller caller;
    caller_start(&caller, "--trust-peer");
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(caller_open(&caller, REMOTE_SERVICE, wrong[i]), CALL_REFUSED);
        assert_int_equal(caller.reason, OB_REASON_UNREACHABLE);
    }
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_there_reaches_a_service_here),
        TEST(an_end_that_does_not_allow_it_says_so),
        TEST(it_ends_with_the_session),
        TEST(what_follows_the_address_is_read_and_dropped),
        TEST(an_address_may_be_as_long_as_any),
        TEST(a_refusal_is_shown),
        TEST(more_listeners_than_the_limit_are_refused),
        TEST(metadata_that_are_no_address_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
