// SPDX-License-Identifier: BSD-3-Clause
#include "wire/exec.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static struct exec_frame take(const uint8_t *bytes, size_t len, enum exec_type type)
{
    struct exec_frame frame;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(exec_get(bytes, cut, &frame), -EAGAIN);
    assert_int_equal(exec_get(bytes, len, &frame), len);
    assert_int_equal(frame.type, type);
    return frame;
}

/* A payload of any other length is refused. */
#define REFUSES_OTHER_LENGTHS(frame, get, ...)                                                     \
    for (size_t len = 0; len < 16; len++) {                                                        \
        struct exec_frame other = {.type = frame.type, .payload = frame.payload, .len = len};      \
        assert_int_equal(get(&other, __VA_ARGS__), len == frame.len ? 0 : -EPROTO);                \
    }

static void start_carries_the_command(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    const struct exec_start start = {
        .terminal = true, .rows = 24, .columns = 80, .arguments = "ls\0-l", .arguments_len = 6};
    struct exec_start got;
    ssize_t len = exec_put_start(&start, bytes);
    assert_memory_equal(bytes, "\1\0\13\0\1\30\0\120\0ls\0-l", len);
    struct exec_frame frame = take(bytes, (size_t)len, EXEC_START);
    assert_int_equal(exec_get_start(&frame, &got), 0);
    assert_true(got.terminal);
    assert_int_equal(got.rows, 24);
    assert_int_equal(got.columns, 80);
    assert_int_equal(got.arguments_len, 6);
    assert_memory_equal(got.arguments, "ls\0-l", 6);
}

static void start_that_is_cut_short(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    const struct exec_start start = {.arguments = "ls", .arguments_len = 3};
    struct exec_start got;
    struct exec_frame frame = take(bytes, (size_t)exec_put_start(&start, bytes), EXEC_START);
    for (; frame.len > 0; frame.len--) {
        bool whole = frame.len == 8 || frame.len == 5; /* with its NUL, or no argument at all */
        assert_int_equal(exec_get_start(&frame, &got), whole ? 0 : -EPROTO);
    }
}

static void start_that_is_too_long(void **state)
{
    static char arguments[EXEC_PAYLOAD_MAX];
    uint8_t bytes[EXEC_FRAME_MAX];
    const struct exec_start start = {.arguments = arguments, .arguments_len = sizeof(arguments)};
    assert_int_equal(exec_put_start(&start, bytes), -E2BIG);
}

static void taken_is_a_number(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    uint32_t taken;
    struct exec_frame frame = take(bytes, exec_put_taken(0x10203, bytes), EXEC_TAKEN);
    assert_memory_equal(bytes, "\12\0\4\0\3\2\1\0", 8);
    assert_int_equal(exec_get_taken(&frame, &taken), 0);
    assert_int_equal(taken, 0x10203);
    REFUSES_OTHER_LENGTHS(frame, exec_get_taken, &taken);
}

static void variables(void **state)
{
    static const char *const bad[] = {"", "=", "=x", "TERM", "A=\n", "A=\33[c", "A=\177"};
    static char longest[EXEC_VARIABLE_MAX + 2] = "A=";
    uint8_t bytes[EXEC_FRAME_MAX];
    char variable[EXEC_VARIABLE_MAX + 1] = "untouched";
    struct exec_frame frame =
        take(bytes, (size_t)exec_put_variable("TERM=vt100", bytes), EXEC_VARIABLE);
    assert_memory_equal(bytes, "\11\0\12\0TERM=vt100", 14);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct exec_frame other = {EXEC_VARIABLE, (const uint8_t *)bad[i], strlen(bad[i])};
        assert_int_equal(exec_get_variable(&other, variable), -EPROTO);
    }
    struct exec_frame with_nul = {EXEC_VARIABLE, (const uint8_t *)"A=\0b", 4};
    assert_int_equal(exec_get_variable(&with_nul, variable), -EPROTO);
    assert_string_equal(variable, "untouched");
    assert_int_equal(exec_get_variable(&frame, variable), 0);
    assert_string_equal(variable, "TERM=vt100");
    memset(longest + 2, 'x', EXEC_VARIABLE_MAX - 1);
    assert_int_equal(exec_put_variable(longest, bytes), -E2BIG);
    struct exec_frame too_long = {EXEC_VARIABLE, (const uint8_t *)longest, EXEC_VARIABLE_MAX + 1};
    assert_int_equal(exec_get_variable(&too_long, variable), -EPROTO);
}

static void signals(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    int number;
    struct exec_frame frame = take(bytes, exec_put_signal(15, bytes), EXEC_SIGNAL);
    assert_memory_equal(bytes, "\3\0\1\0\17", 5);
    REFUSES_OTHER_LENGTHS(frame, exec_get_signal, &number);
    assert_int_equal(number, 15);
    frame = take(bytes, exec_put_signal(0, bytes), EXEC_SIGNAL);
    assert_int_equal(exec_get_signal(&frame, &number), -EPROTO);
    frame = take(bytes, exec_put_signal(65, bytes), EXEC_SIGNAL);
    assert_int_equal(exec_get_signal(&frame, &number), -EPROTO);
}

static void sizes(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    uint16_t rows, columns;
    struct exec_frame frame = take(bytes, exec_put_resize(25, 300, bytes), EXEC_RESIZE);
    assert_memory_equal(bytes, "\4\0\4\0\31\0\54\1", 8);
    REFUSES_OTHER_LENGTHS(frame, exec_get_resize, &rows, &columns);
    assert_int_equal(rows, 25);
    assert_int_equal(columns, 300);
}

static void exits(void **state)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    const struct exec_exit exit = {.kind = EXEC_SIGNALLED, .status = 9};
    struct exec_exit got;
    struct exec_frame frame = take(bytes, exec_put_exit(&exit, bytes), EXEC_EXIT);
    assert_memory_equal(bytes, "\7\0\5\0\1\11\0\0\0", 9);
    REFUSES_OTHER_LENGTHS(frame, exec_get_exit, &got);
    assert_int_equal(got.kind, EXEC_SIGNALLED);
    assert_int_equal(got.status, 9);
    bytes[EXEC_HEADER_LEN] = 3;
    assert_int_equal(exec_get_exit(&frame, &got), -EPROTO);
}

static void headers_that_are_no_frame(void **state)
{
    struct exec_frame frame;
    assert_int_equal(exec_get("\0\0\0\0", 4, &frame), -EPROTO);
    assert_int_equal(exec_get("\14\0\0\0", 4, &frame), -EPROTO);
    assert_int_equal(exec_get("\2\1\0\0", 4, &frame), -EPROTO);
    assert_int_equal(exec_get("\2\0\1\100", 4, &frame), -EPROTO); /* one byte too long */
    assert_int_equal(exec_get("\2\0\0\100", 4, &frame), -EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(start_carries_the_command),
        TEST(start_that_is_cut_short),
        TEST(start_that_is_too_long),
        TEST(variables),
        TEST(signals),
        TEST(taken_is_a_number),
        TEST(sizes),
        TEST(exits),
        TEST(headers_that_are_no_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
