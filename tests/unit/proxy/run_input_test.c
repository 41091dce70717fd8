// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/run_input.h"

#include "base/limits.h"
#include "support.h"
#include "wire/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static const uint8_t block[EXEC_PAYLOAD_MAX];

/* A pipe's writer as the command's input. The reader. */
static int begin(struct run_input *input, bool tells)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    run_input_init(input, tells);
    run_input_begin(input, ends[1]);
    input->pipe.writable = true;
    return ends[0];
}

static size_t drain(int fd)
{
    static uint8_t bytes[EXEC_PAYLOAD_MAX];
    size_t done = 0;
    for (ssize_t got; (got = read(fd, bytes, sizeof(bytes))) > 0;)
        done += (size_t)got;
    return done;
}

static uint32_t reported(struct run_input *input)
{
    uint8_t bytes[EXEC_FRAME_MAX];
    struct exec_frame frame;
    uint32_t taken;
    size_t len = run_input_report(input, bytes);
    if (len == 0)
        return 0;
    assert_int_equal(exec_get(bytes, len, &frame), len);
    assert_int_equal(frame.type, EXEC_TAKEN);
    assert_int_equal(exec_get_taken(&frame, &taken), 0);
    return taken;
}

static void a_whole_window_is_kept_and_not_a_byte_more(void **state)
{
    struct run_input input;
    int reader = begin(&input, true);
    input.pipe.writable = false;
    for (size_t sent = 0; sent < EXEC_INPUT_WINDOW; sent += sizeof(block)) {
        assert_false(run_input_full(&input));
        assert_int_equal(run_input_take(&input, block, sizeof(block)), 0);
    }
    assert_false(run_input_full(&input)); /* a signal behind it is read */
    assert_int_equal(run_input_take(&input, block, 1), -EPROTO);
    assert_int_equal(reported(&input), 0);
    run_input_done(&input);
    close(reader);
}

static void a_client_that_heeds_the_window_is_never_stuck(void **state)
{
    struct run_input input;
    uint32_t window = EXEC_INPUT_WINDOW;
    size_t sent = 0, got = 0;
    int reader = begin(&input, true);
    while (sent < 8 * EXEC_INPUT_WINDOW) {
        size_t len = window < sizeof(block) ? window : sizeof(block);
        assert_true(len > 0 || input.queue.len > 0);
        // cppcheck-suppress knownConditionTrueFalse ; the window may be used up
        assert_int_equal(len ? run_input_take(&input, block, len) : 0, 0);
        sent += len;
        window -= (uint32_t)len;
        run_input_feed(&input);
        if (!input.pipe.writable || sent % 3 == 0) {
            got += drain(reader);
            input.pipe.writable = true;
            run_input_feed(&input);
        }
        window += reported(&input);
    }
    while (input.queue.len) {
        got += drain(reader);
        input.pipe.writable = true;
        run_input_feed(&input);
    }
    assert_int_equal(got + drain(reader), sent);
    run_input_done(&input);
    close(reader);
}

static void an_older_client_is_held_back_by_its_stream(void **state)
{
    struct run_input input;
    int reader = begin(&input, false);
    input.pipe.writable = false;
    for (size_t sent = 0; sent < LIMIT_RUN_INPUT; sent += sizeof(block)) {
        assert_false(run_input_full(&input));
        assert_int_equal(run_input_take(&input, block, sizeof(block)), 0);
    }
    assert_true(run_input_full(&input));
    input.pipe.writable = true;
    run_input_feed(&input);
    assert_false(run_input_full(&input));
    assert_int_equal(reported(&input), 0);
    run_input_done(&input);
    close(reader);
}

static void the_end_comes_behind_the_last_byte(void **state)
{
    struct run_input input;
    uint8_t byte;
    int reader = begin(&input, true);
    input.pipe.writable = false;
    assert_int_equal(run_input_take(&input, "x", 1), 0);
    assert_int_equal(run_input_take(&input, NULL, 0), 0);
    run_input_feed(&input);
    assert_int_equal(read(reader, &byte, 1), -1);
    input.pipe.writable = true;
    run_input_feed(&input);
    assert_int_equal(read(reader, &byte, 1), 1);
    assert_int_equal(read(reader, &byte, 1), 0);
    run_input_done(&input);
    close(reader);
}

static void a_command_that_reads_no_more_is_told_once(void **state)
{
    struct run_input input;
    uint8_t bytes[EXEC_FRAME_MAX];
    close(begin(&input, true));
    assert_int_equal(run_input_take(&input, block, sizeof(block)), 0);
    run_input_feed(&input);
    assert_int_equal(run_input_report(&input, bytes), EXEC_HEADER_LEN);
    assert_int_equal(bytes[0], EXEC_CLOSED);
    assert_int_equal(run_input_report(&input, bytes), 0);
    assert_int_equal(run_input_take(&input, block, sizeof(block)), 0); /* was under way */
    assert_int_equal(input.queue.len, 0);
    run_input_done(&input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_window_is_kept_and_not_a_byte_more),
        TEST(a_client_that_heeds_the_window_is_never_stuck),
        TEST(an_older_client_is_held_back_by_its_stream),
        TEST(the_end_comes_behind_the_last_byte),
        TEST(a_command_that_reads_no_more_is_told_once),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
