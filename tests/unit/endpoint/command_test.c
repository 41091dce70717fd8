// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/command.h"

#include "support.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/loop.h"

struct party {
    struct loop *loop;
    struct children *children;
    struct child *child;
    bool ended;
    int status;
};

static void set_up(struct party *party)
{
    *party = (struct party){0};
    assert_int_equal(loop_new(&party->loop), 0);
    assert_int_equal(children_new(party->loop, &party->children), 0);
}

static void on_exit_status(void *argument, int status)
{
    struct party *party = argument;
    party->ended = true;
    party->status = status;
}

static int wait_for_its_end(struct party *party)
{
    child_watch(party->child, on_exit_status, party);
    while (!party->ended)
        assert_true(loop_wait(party->loop, -1) >= 0);
    return party->status;
}

static void tear_down(struct party *party)
{
    children_free(party->children);
    loop_free(party->loop);
}

/* All that comes, up to the end, as a string. */
static void read_all(int fd, char *ret_text, size_t size)
{
    size_t len = 0;
    for (;;) {
        ssize_t got = read(fd, ret_text + len, size - 1 - len);
        if (got < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            poll(&wait, 1, -1);
            continue;
        }
        assert_true(got >= 0);
        len += (size_t)got;
        if (got == 0)
            break;
    }
    ret_text[len] = '\0';
}

static void one_socket_is_input_and_output(void **state)
{
    const struct command command = {.shell = "cat; ulimit -Sn; echo $OUTBOARD_SERVICE; exit 3",
                                    .service = "s",
                                    .open_files = 64};
    struct party party;
    char text[64];
    set_up(&party);
    int fd = command_start_joined(party.children, &command, &party.child);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "in\n", 3), 3);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    read_all(fd, text, sizeof(text));
    assert_string_equal(text, "in\n64\ns\n");
    wait_for_its_end(&party);
    assert_true(WIFEXITED(party.status) && WEXITSTATUS(party.status) == 3);
    close(fd);
    tear_down(&party);
}

static void each_standard_stream_has_a_pipe(void **state)
{
    char *const argv[] = {"sh", "-c", "cat; echo err >&2", NULL};
    const struct command command = {.argv = argv};
    struct party party;
    struct command_pipes pipes;
    char text[64];
    set_up(&party);
    assert_int_equal(command_start(party.children, &command, &pipes, &party.child), 0);
    assert_int_equal(write(pipes.in, "in\n", 3), 3);
    close(pipes.in);
    pipes.in = -1;
    read_all(pipes.out, text, sizeof(text));
    assert_string_equal(text, "in\n");
    read_all(pipes.err, text, sizeof(text));
    assert_string_equal(text, "err\n");
    wait_for_its_end(&party);
    command_pipes_close(&pipes);
    assert_int_equal(pipes.out, -1);
    tear_down(&party);
}

static void a_terminal_has_the_size_that_was_asked_for(void **state)
{
    char *const argv[] = {"stty", "size", NULL};
    const struct command command = {.argv = argv, .terminal = true, .rows = 33, .columns = 77};
    struct party party;
    struct command_pipes pipes;
    char text[64];
    set_up(&party);
    assert_int_equal(command_start(party.children, &command, &pipes, &party.child), 0);
    assert_int_equal(pipes.in, pipes.out);
    assert_int_equal(pipes.err, -1);
    struct pollfd wait = {.fd = pipes.out, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, -1), 1);
    ssize_t got = read(pipes.out, text, sizeof(text));
    assert_true(got > 5 && memcmp(text, "33 77", 5) == 0);
    wait_for_its_end(&party);
    command_pipes_close(&pipes);
    tear_down(&party);
}

static void what_is_not_there_is_not_started(void **state)
{
    char *const argv[] = {"/nonexistent/program", NULL};
    const struct command command = {.argv = argv};
    struct party party;
    struct command_pipes pipes;
    set_up(&party);
    assert_int_equal(command_start(party.children, &command, &pipes, &party.child), 0);
    assert_int_equal(child_exec_error(wait_for_its_end(&party)), ENOENT);
    command_pipes_close(&pipes);
    tear_down(&party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_socket_is_input_and_output),
        TEST(each_standard_stream_has_a_pipe),
        TEST(a_terminal_has_the_size_that_was_asked_for),
        TEST(what_is_not_there_is_not_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
