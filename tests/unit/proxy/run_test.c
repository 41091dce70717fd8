// SPDX-License-Identifier: BSD-3-Clause
/* A command that is run, frame by frame, and frames that break the order: run.c. */
#include "proxy/run.h"

#include "caller.h"
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "proxy/flow.h"
#include "wire/exec.h"

#define WORDS(text) text, sizeof(text)
#define RUN         "--allow-run -s cat=exec:cat"

/* START of a command: its words, each ended by a NUL. */
static void start(struct caller *caller, const char *words, size_t len)
{
    uint8_t frame[EXEC_FRAME_MAX];
    const struct exec_start start = {.arguments = words, .arguments_len = len};
    ssize_t frame_len = exec_put_start(&start, frame);
    assert_true(frame_len > 0);
    caller_say(caller, frame, (size_t)frame_len);
}

static void say_frame(struct caller *caller, enum exec_type type, const void *bytes, size_t len)
{
    uint8_t frame[EXEC_FRAME_MAX];
    exec_put_header(type, len, frame);
    if (len > 0)
        memcpy(frame + EXEC_HEADER_LEN, bytes, len);
    caller_say(caller, frame, EXEC_HEADER_LEN + len);
}

/* The next frame of the proxy's, which must be of that type. */
static struct exec_frame next_frame(struct caller *caller, size_t *at, enum exec_type type)
{
    struct exec_frame frame;
    ssize_t len;
    while ((len = exec_get(caller->heard + *at, caller->heard_len - *at, &frame)) == -EAGAIN)
        caller_hear(caller, caller->heard_len + 1);
    assert_true(len > 0);
    assert_int_equal(frame.type, type);
    *at += (size_t)len;
    return frame;
}

static void expect_exit(struct caller *caller, size_t *at, enum exec_exit_kind kind,
                        uint32_t status)
{
    struct exec_exit exit;
    struct exec_frame frame = next_frame(caller, at, EXEC_EXIT);
    assert_int_equal(exec_get_exit(&frame, &exit), 0);
    assert_int_equal(exit.kind, kind);
    assert_int_equal(exit.status, status);
}

static void expect_text(struct caller *caller, size_t *at, enum exec_type type, const char *text)
{
    struct exec_frame frame = next_frame(caller, at, type);
    assert_int_equal(frame.len, strlen(text));
    assert_memory_equal(frame.payload, text, frame.len);
}

static void a_command_says_something_and_exits(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE, ""), CALL_ACCEPTED);
    start(&caller, WORDS("sh\0-c\0echo out; exit 7"));
    expect_text(&caller, &at, EXEC_STDOUT, "out\n");
    expect_exit(&caller, &at, EXEC_EXITED, 7);
    caller_stop(&caller);
}

static void both_outputs_are_told_apart(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE, ""), CALL_ACCEPTED);
    start(&caller, WORDS("sh\0-c\0echo err >&2"));
    expect_text(&caller, &at, EXEC_STDERR, "err\n");
    expect_exit(&caller, &at, EXEC_EXITED, 0);
    caller_stop(&caller);
}

static void input_reaches_it_and_ends(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, "cat", RUN_METADATA), CALL_ACCEPTED);
    start(&caller, "", 0);
    say_frame(&caller, EXEC_STDIN, "words", 5);
    expect_text(&caller, &at, EXEC_STDOUT, "words");
    say_frame(&caller, EXEC_STDIN, NULL, 0);
    expect_exit(&caller, &at, EXEC_EXITED, 0);
    caller_stop(&caller);
}

static void a_signal_that_kills_it_is_told(void **state)
{
    struct caller caller;
    uint8_t frame[EXEC_FRAME_MAX];
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE, ""), CALL_ACCEPTED);
    start(&caller, WORDS("cat"));
    say_frame(&caller, EXEC_STDIN, "x", 1); /* until it runs */
    expect_text(&caller, &at, EXEC_STDOUT, "x");
    caller_say(&caller, frame, exec_put_signal(SIGTERM, frame));
    expect_exit(&caller, &at, EXEC_SIGNALLED, SIGTERM);
    caller_stop(&caller);
}

static void what_can_not_be_started_says_why(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE, ""), CALL_ACCEPTED);
    start(&caller, WORDS("/no/such/program"));
    expect_exit(&caller, &at, EXEC_NOT_STARTED, ENOENT);
    at = 0;
    assert_int_equal(caller_open(&caller, RUN_SERVICE, ""), CALL_ACCEPTED);
    start(&caller, "", 0);
    expect_exit(&caller, &at, EXEC_NOT_STARTED, EINVAL);
    caller_stop(&caller);
}

static void arguments_may_come_in_frames_of_their_own(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE_2, ""), CALL_ACCEPTED);
    say_frame(&caller, EXEC_VARIABLE, "TERM=dumb", 9);
    say_frame(&caller, EXEC_ARGUMENTS, "ech", 3);
    say_frame(&caller, EXEC_ARGUMENTS, "o\0one\0t", 7);
    start(&caller, WORDS("wo"));
    expect_text(&caller, &at, EXEC_STDOUT, "one two\n");
    expect_exit(&caller, &at, EXEC_EXITED, 0);
    caller_stop(&caller);
}

/* A frame for each state that may not have it. */
static void frames_out_of_order_reset_the_stream(void **state)
{
    static const struct {
        const char *service, *metadata;
        bool started;
        enum exec_type type;
        const char *payload;
        size_t len;
    } cases[] = {
        {RUN_SERVICE, "", false, EXEC_STDIN, "x", 1},
        {RUN_SERVICE, "", false, EXEC_SIGNAL, "\x0f", 1},
        {RUN_SERVICE, "", false, EXEC_EXIT, "\0\0\0\0\0", 5},
        {RUN_SERVICE, "", false, EXEC_START, "\0\0\0\0", 4},      /* too short */
        {RUN_SERVICE, "", false, EXEC_START, "\0\0\0\0\0cat", 8}, /* no NUL behind it */
        {"cat", RUN_METADATA, false, EXEC_ARGUMENTS, "x", 1},
        {"cat", RUN_METADATA, true, EXEC_START, "\0\0\0\0\0", 5},
        {"cat", RUN_METADATA, true, EXEC_VARIABLE, "TERM=x", 6},
        {"cat", RUN_METADATA, true, EXEC_STDOUT, "x", 1},
        {"cat", RUN_METADATA, true, EXEC_SIGNAL, "", 0},
        {"cat", RUN_METADATA, true, EXEC_RESIZE, "xxx", 3},
        {"cat", RUN_METADATA, true, (enum exec_type)99, "", 0},
    };
    struct caller caller;
    caller_start(&caller, RUN);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(caller_open(&caller, cases[i].service, cases[i].metadata), CALL_ACCEPTED);
        if (cases[i].started)
            start(&caller, "", 0);
        say_frame(&caller, cases[i].type, cases[i].payload, cases[i].len);
        assert_int_equal(caller_hear_reset(&caller), OB_REASON_FAILED);
    }
    caller_stop(&caller);
}

static bool has_no_flow(void *argument)
{
    return list_empty(&((struct caller *)argument)->lab.ends[LAB_OURS].proxy.flows);
}

/* An end of the stream is no end of input: the client has gone, and the command goes too. */
static void a_client_that_has_gone_ends_the_run(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, "cat", RUN_METADATA), CALL_ACCEPTED);
    start(&caller, "", 0);
    say_frame(&caller, EXEC_STDIN, "x", 1);
    expect_text(&caller, &at, EXEC_STDOUT, "x");
    assert_int_equal(ob_stream_shutdown(caller.stream), 0);
    assert_int_equal(caller_hear_reset(&caller), OB_REASON_FAILED);
    caller_until(&caller, has_no_flow, &caller);
    caller_stop(&caller);
}

static void a_client_of_version_3_is_told_that_nobody_reads(void **state)
{
    struct caller caller;
    size_t at = 0;
    caller_start(&caller, RUN);
    assert_int_equal(caller_open(&caller, RUN_SERVICE_3, ""), CALL_ACCEPTED);
    start(&caller, WORDS("sh\0-c\0exec <&-; exec sleep 1000"));
    assert_int_equal(next_frame(&caller, &at, EXEC_CLOSED).len, 0);
    caller_stop(&caller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_says_something_and_exits),
        TEST(both_outputs_are_told_apart),
        TEST(input_reaches_it_and_ends),
        TEST(a_signal_that_kills_it_is_told),
        TEST(what_can_not_be_started_says_why),
        TEST(arguments_may_come_in_frames_of_their_own),
        TEST(frames_out_of_order_reset_the_stream),
        TEST(a_client_that_has_gone_ends_the_run),
        TEST(a_client_of_version_3_is_told_that_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
