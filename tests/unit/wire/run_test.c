// SPDX-License-Identifier: BSD-3-Clause
#include "wire/run.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static struct run_frame take(const uint8_t *bytes, size_t len, enum run_type type)
{
    struct run_frame frame;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(run_get(bytes, cut, &frame), -EAGAIN);
    assert_int_equal(run_get(bytes, len, &frame), len);
    assert_int_equal(frame.type, type);
    return frame;
}

/* A payload of any other length is refused. */
#define REFUSES_OTHER_LENGTHS(frame, get, ...)                                                     \
    for (size_t len = 0; len < 16; len++) {                                                        \
        struct run_frame other = {.type = frame.type, .payload = frame.payload, .len = len};       \
        assert_int_equal(get(&other, __VA_ARGS__), len == frame.len ? 0 : -EPROTO);                \
    }

static void start_carries_the_command(void **state)
{
    uint8_t bytes[RUN_FRAME_MAX];
    const struct run_start start = {
        .terminal = true, .rows = 24, .columns = 80, .arguments = "ls\0-l", .arguments_len = 6};
    struct run_start got;
    ssize_t len = run_put_start(&start, bytes);
    assert_memory_equal(bytes, "\1\0\13\0\1\30\0\120\0ls\0-l", len);
    struct run_frame frame = take(bytes, (size_t)len, RUN_START);
    assert_int_equal(run_get_start(&frame, &got), 0);
    assert_true(got.terminal);
    assert_int_equal(got.rows, 24);
    assert_int_equal(got.columns, 80);
    assert_int_equal(got.arguments_len, 6);
    assert_memory_equal(got.arguments, "ls\0-l", 6);
}

static void start_that_is_cut_short(void **state)
{
    uint8_t bytes[RUN_FRAME_MAX];
    const struct run_start start = {.arguments = "ls", .arguments_len = 3};
    struct run_start got;
    struct run_frame frame = take(bytes, (size_t)run_put_start(&start, bytes), RUN_START);
    for (; frame.len > 0; frame.len--) {
        bool whole = frame.len == 8 || frame.len == 5; /* with its NUL, or no argument at all */
        assert_int_equal(run_get_start(&frame, &got), whole ? 0 : -EPROTO);
    }
}

static void start_that_is_too_long(void **state)
{
    static char arguments[RUN_PAYLOAD_MAX];
    uint8_t bytes[RUN_FRAME_MAX];
    const struct run_start start = {.arguments = arguments, .arguments_len = sizeof(arguments)};
    assert_int_equal(run_put_start(&start, bytes), -E2BIG);
}

static void variables(void **state)
{
    static const char *const bad[] = {"", "=", "=x", "TERM", "A=\n", "A=\33[c", "A=\177"};
    static char longest[RUN_VARIABLE_MAX + 2] = "A=";
    uint8_t bytes[RUN_FRAME_MAX];
    char variable[RUN_VARIABLE_MAX + 1] = "untouched";
    struct run_frame frame =
        take(bytes, (size_t)run_put_variable("TERM=vt100", bytes), RUN_VARIABLE);
    assert_memory_equal(bytes, "\11\0\12\0TERM=vt100", 14);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct run_frame other = {RUN_VARIABLE, (const uint8_t *)bad[i], strlen(bad[i])};
        assert_int_equal(run_get_variable(&other, variable), -EPROTO);
    }
    struct run_frame with_nul = {RUN_VARIABLE, (const uint8_t *)"A=\0b", 4};
    assert_int_equal(run_get_variable(&with_nul, variable), -EPROTO);
    assert_string_equal(variable, "untouched");
    assert_int_equal(run_get_variable(&frame, variable), 0);
    assert_string_equal(variable, "TERM=vt100");
    memset(longest + 2, 'x', RUN_VARIABLE_MAX - 1);
    assert_int_equal(run_put_variable(longest, bytes), -E2BIG);
    struct run_frame too_long = {RUN_VARIABLE, (const uint8_t *)longest, RUN_VARIABLE_MAX + 1};
    assert_int_equal(run_get_variable(&too_long, variable), -EPROTO);
}

static void signals(void **state)
{
    uint8_t bytes[RUN_FRAME_MAX];
    int number;
    struct run_frame frame = take(bytes, run_put_signal(15, bytes), RUN_SIGNAL);
    assert_memory_equal(bytes, "\3\0\1\0\17", 5);
    REFUSES_OTHER_LENGTHS(frame, run_get_signal, &number);
    assert_int_equal(number, 15);
    frame = take(bytes, run_put_signal(0, bytes), RUN_SIGNAL);
    assert_int_equal(run_get_signal(&frame, &number), -EPROTO);
    frame = take(bytes, run_put_signal(65, bytes), RUN_SIGNAL);
    assert_int_equal(run_get_signal(&frame, &number), -EPROTO);
}

static void sizes(void **state)
{
    uint8_t bytes[RUN_FRAME_MAX];
    uint16_t rows, columns;
    struct run_frame frame = take(bytes, run_put_resize(25, 300, bytes), RUN_RESIZE);
    assert_memory_equal(bytes, "\4\0\4\0\31\0\54\1", 8);
    REFUSES_OTHER_LENGTHS(frame, run_get_resize, &rows, &columns);
    assert_int_equal(rows, 25);
    assert_int_equal(columns, 300);
}

static void exits(void **state)
{
    uint8_t bytes[RUN_FRAME_MAX];
    const struct run_exit exit = {.kind = RUN_SIGNALLED, .status = 9};
    struct run_exit got;
    struct run_frame frame = take(bytes, run_put_exit(&exit, bytes), RUN_EXIT);
    assert_memory_equal(bytes, "\7\0\5\0\1\11\0\0\0", 9);
    REFUSES_OTHER_LENGTHS(frame, run_get_exit, &got);
    assert_int_equal(got.kind, RUN_SIGNALLED);
    assert_int_equal(got.status, 9);
    bytes[RUN_HEADER_LEN] = 3;
    assert_int_equal(run_get_exit(&frame, &got), -EPROTO);
}

static void headers_that_are_no_frame(void **state)
{
    struct run_frame frame;
    assert_int_equal(run_get("\0\0\0\0", 4, &frame), -EPROTO);
    assert_int_equal(run_get("\12\0\0\0", 4, &frame), -EPROTO);
    assert_int_equal(run_get("\2\1\0\0", 4, &frame), -EPROTO);
    assert_int_equal(run_get("\2\0\1\100", 4, &frame), -EPROTO); /* one byte too long */
    assert_int_equal(run_get("\2\0\0\100", 4, &frame), -EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(start_carries_the_command),
        TEST(start_that_is_cut_short),
        TEST(start_that_is_too_long),
        TEST(variables),
        TEST(signals),
        TEST(sizes),
        TEST(exits),
        TEST(headers_that_are_no_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
