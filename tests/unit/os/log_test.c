// SPDX-License-Identifier: BSD-3-Clause
/* The log as a program has it, on a pipe that stands where standard error was. */
#include "os/log.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/loop.h"

#define STUCK_S 20

struct capture {
    int saved_stderr;
    int read_fd;
    char text[1 << 17];
};

static struct capture capture;

static void begin(void)
{
    int ends[2];
    fflush(stderr);
    capture.saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    capture.read_fd = ends[0];
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(log_start("outboard-test"), 0);
    log_never_wait();
    alarm(STUCK_S); /* a line that waited would wait for ever */
}

/* What has been logged since. */
static const char *logged(void)
{
    ssize_t got, len = 0;
    while ((got = read(capture.read_fd, capture.text + len,
                       sizeof(capture.text) - 1 - (size_t)len)) > 0)
        len += got;
    capture.text[len] = '\0';
    return capture.text;
}

static void end(void)
{
    alarm(0);
    log_end();
    dup2(capture.saved_stderr, STDERR_FILENO);
    close(capture.saved_stderr);
    if (capture.read_fd >= 0)
        close(capture.read_fd);
}

static unsigned count_lines(const char *text)
{
    unsigned lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

static void a_line_has_the_programs_name(void **state)
{
    begin();
    log_line("%s is %d", "that", 5);
    log_line("with a newline\n");
    log_line_of("%s", "composed");
    assert_string_equal(logged(), "outboard-test: that is 5\noutboard-test: with a newline\n"
                                  "outboard-test: composed\n");
    end();
}

static void a_peers_bytes_cannot_forge_a_line(void **state)
{
    begin();
    log_line("the name is '%s'", "x'\noutboard-test: forged\r\x1b]0;owned\x07\x9b\xff");
    assert_string_equal(logged(), "outboard-test: the name is 'x'\\012outboard-test: forged\\015"
                                  "\\033]0;owned\\007\\233\\377'\n");
    end();
}

static void a_long_line_is_cut(void **state)
{
    char *name = malloc(100000);
    memset(name, '\x01', 99999); /* four times as long when printed */
    name[99999] = '\0';
    begin();
    log_line("the name is %s", name);
    size_t len = strlen(logged());
    assert_true(len > 1000 && len <= 4096);
    assert_string_equal(capture.text + len - 4, "...\n");
    end();
    free(name);
}

static void a_flood_is_counted(void **state)
{
    begin();
    for (int i = 0; i < 30000; i++)
        log_line("refused number %d", i);
    log_line("another kind");
    unsigned lines = count_lines(logged());
    assert_in_range(lines, 10, 100);
    assert_non_null(strstr(capture.text, "outboard-test: another kind\n"));
    log_flush();
    assert_non_null(strstr(logged(), "outboard-test: ... and 29,9"));
    assert_non_null(strstr(capture.text, " more like this: refused number "));
    log_flush();
    assert_string_equal(logged(), "");
    end();
}

static void the_loop_is_told_when_a_count_is_due(void **state)
{
    begin();
    assert_true(log_tick() == UINT64_MAX);
    for (int i = 0; i < 100; i++)
        log_line("once more");
    uint64_t due = log_tick();
    assert_true(due > clock_now_ns() && due < UINT64_MAX);
    log_flush();
    assert_true(log_tick() == UINT64_MAX);
    end();
}

/* A program that has nothing else to do wakes up once, some seconds later, to tell. */
static void a_count_is_told_without_a_further_line(void **state)
{
    struct loop *loop;
    begin();
    assert_int_equal(loop_new(&loop), 0);
    for (int i = 0; i < 100; i++)
        log_line("once more");
    assert_null(strstr(logged(), "more like this"));
    assert_int_equal(loop_wait(loop, -1), 0); /* nobody else could end this */
    assert_int_equal(loop_wait(loop, 0), 0);
    assert_non_null(strstr(logged(), " more like this: once more"));
    assert_true(log_tick() == UINT64_MAX);
    loop_free(loop);
    end();
}

static void verbose_lines_are_printed_on_request(void **state)
{
    begin();
    log_verbose("not this one");
    log_set_verbose(true);
    for (int i = 0; i < 100; i++)
        log_verbose("stream %d opened", i);
    log_set_verbose(false);
    assert_int_equal(count_lines(logged()), 100);
    end();
}

static void what_a_full_pipe_drops_is_counted(void **state)
{
    char format[32];
    begin();
    assert_int_equal(fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096), 4096);
    for (int i = 0; i < 1000; i++) {
        snprintf(format, sizeof(format), "kind %d", i);
        log_line_of(format, format);
    }
    unsigned lines = count_lines(logged());
    assert_true(lines > 0 && lines < 1000);
    assert_true(log_tick() < UINT64_MAX);
    log_line("there is room again");
    char expected[128];
    snprintf(expected, sizeof(expected),
             "outboard-test: ... %u lines dropped\noutboard-test: there is room again\n",
             1000 - lines);
    assert_string_equal(logged(), expected);
    assert_true(log_tick() == UINT64_MAX);
    end();
}

static void a_reader_that_has_gone_ends_nobody(void **state)
{
    begin();
    close(capture.read_fd);
    capture.read_fd = -1;
    for (int i = 0; i < 3; i++)
        log_line("to nobody");
    log_flush();
    end();
}

static void the_log_keeps_off_a_peers_socket(void **state)
{
    char text[8];
    int ends[2];
    begin();
    log_keep_off(capture.read_fd); /* the other end of a pipe has the same number */
    log_line("lost");
    assert_string_equal(logged(), "");
    end();
    begin();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    log_keep_off(ends[0]); /* it is another one */
    log_line("heard");
    assert_string_equal(logged(), "outboard-test: heard\n");
    dup2(ends[1], STDERR_FILENO);
    log_keep_off(ends[1]);
    log_line("lost");
    assert_int_equal(recv(ends[0], text, sizeof(text), MSG_DONTWAIT), -1);
    end();
    close(ends[0]);
    close(ends[1]);
}

static void lines_can_be_held(void **state)
{
    begin();
    log_hold(true);
    for (int i = 0; i < 20; i++)
        log_line("line %d", i);
    assert_string_equal(logged(), "");
    log_hold(false);
    assert_int_equal(count_lines(logged()), 20);
    assert_memory_equal(capture.text, "outboard-test: line 0\noutboard-test: line 1\n", 44);
    log_line("at once");
    assert_string_equal(logged(), "outboard-test: at once\n");
    end();
}

static void held_lines_that_do_not_fit_are_counted(void **state)
{
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    begin();
    log_hold(true);
    for (int i = 0; i < 30; i++)
        log_line("%s", text);
    log_hold(false);
    assert_int_equal(count_lines(logged()), 17);
    assert_non_null(strstr(capture.text, "\noutboard-test: ... 14 lines dropped\n"));
    end();
}

/* Started with it closed, a program has its log on /dev/null and not in the next file it opens. */
static void a_closed_standard_error_is_opened(void **state)
{
    int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    close(STDERR_FILENO);
    int err = log_start("outboard-test");
    FILE *file = tmpfile();
    int fd = fileno(file);
    log_line("not for a file");
    off_t len = lseek(fd, 0, SEEK_END);
    log_end();
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(file);
    assert_int_equal(err, 0);
    assert_true(fd > STDERR_FILENO);
    assert_int_equal(len, 0);
}

static void a_handler_of_the_programs_own_stays(void **state)
{
    struct sigaction action;
    signal(SIGPIPE, SIG_DFL);
    begin();
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_ptr_equal(action.sa_handler, SIG_IGN);
    log_give_back_signals();
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_ptr_equal(action.sa_handler, SIG_DFL);
    end();
    void (*handler)(int) = (void (*)(int))abort;
    signal(SIGPIPE, handler);
    begin();
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_ptr_equal(action.sa_handler, handler);
    close(capture.read_fd);
    capture.read_fd = -1;
    log_line("to nobody"); /* and it is not called for the log's sake */
    end();
    signal(SIGPIPE, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_the_programs_name),
        TEST(a_peers_bytes_cannot_forge_a_line),
        TEST(a_long_line_is_cut),
        TEST(a_flood_is_counted),
        TEST(the_loop_is_told_when_a_count_is_due),
        TEST(a_count_is_told_without_a_further_line),
        TEST(verbose_lines_are_printed_on_request),
        TEST(what_a_full_pipe_drops_is_counted),
        TEST(a_reader_that_has_gone_ends_nobody),
        TEST(lines_can_be_held),
        TEST(held_lines_that_do_not_fit_are_counted),
        TEST(the_log_keeps_off_a_peers_socket),
        TEST(a_closed_standard_error_is_opened),
        TEST(a_handler_of_the_programs_own_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
