// SPDX-License-Identifier: BSD-3-Clause
#include "os/input.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

static void bytes_are_read_when_all_were_looked_at(void **state)
{
    struct input input = {0};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_false(input_fill(&input, ends[0]));
    assert_false(input.ended || input.failed);
    assert_int_equal(send(ends[1], "abc", 3, 0), 3);
    assert_true(input_fill(&input, ends[0]));
    assert_int_equal(input_left(&input), 3);
    assert_memory_equal(input_bytes(&input), "abc", 3);
    input.at += 2;
    assert_int_equal(send(ends[1], "d", 1, 0), 1);
    assert_true(input_fill(&input, ends[0])); /* reads nothing: c is there */
    assert_int_equal(input_left(&input), 1);
    assert_memory_equal(input_bytes(&input), "c", 1);
    input.at++;
    assert_true(input_fill(&input, ends[0]));
    assert_memory_equal(input_bytes(&input), "d", 1);
    input.at++;
    close(ends[1]);
    assert_false(input_fill(&input, ends[0]));
    assert_true(input.ended);
    assert_false(input.failed);
    close(ends[0]);
}

static void a_broken_socket_is_no_end(void **state)
{
    struct input input = {0};
    assert_false(input_fill(&input, -1));
    assert_true(input.failed);
    assert_false(input.ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_are_read_when_all_were_looked_at),
        TEST(a_broken_socket_is_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
