// SPDX-License-Identifier: BSD-3-Clause
/* A sink on everything that descriptor 2 may be: what there is no room for is refused at once. */
#include "os/log_sink.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define LINE "outboard-test: a line\n"
#define LEN  (sizeof(LINE) - 1)

/* A write that waited would never end: the alarm ends the program. */
#define STUCK_S 20

/* Writes until there is no room, and returns how many lines went in. */
static unsigned fill(struct log_sink *sink)
{
    unsigned lines = 0;
    int err;
    alarm(STUCK_S);
    while ((err = log_sink_write(sink, LINE, LEN, 0)) == 0)
        lines++;
    alarm(0);
    assert_int_equal(err, -EAGAIN);
    return lines;
}

static void assert_blocking(int fd)
{
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

/* Reads all there is and checks that it is whole lines. */
static unsigned drain(int fd)
{
    static char bytes[1 << 20];
    size_t len = 0;
    ssize_t got;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while ((got = read(fd, bytes + len, sizeof(bytes) - len)) > 0)
        len += (size_t)got;
    assert_int_equal(len % LEN, 0);
    for (size_t at = 0; at < len; at += LEN)
        assert_memory_equal(bytes + at, LINE, LEN);
    return (unsigned)(len / LEN);
}

static void a_full_pipe_is_not_waited_for(void **state)
{
    struct log_sink sink;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_sink_init(&sink, ends[1]);
    assert_int_equal(sink.kind, LOG_SINK_OWN);
    unsigned lines = fill(&sink);
    assert_blocking(ends[1]); /* others write there too */
    assert_int_equal(drain(ends[0]), lines);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), 0);
    log_sink_done(&sink);
    close(ends[0]);
    close(ends[1]);
}

/* As where /proc is not mounted, or the pipe is another user's. */
static void a_pipe_that_cannot_be_opened_again_is_not_waited_for(void **state)
{
    struct log_sink sink = {.kind = LOG_SINK_SPLICE, .own_fd = -1};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe2(sink.pipe_fd, O_NONBLOCK), 0);
    sink.fd = ends[1];
    unsigned lines = fill(&sink);
    assert_true(lines > 0);
    assert_blocking(ends[1]);
    assert_int_equal(drain(ends[0]), lines);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), 0);
    assert_int_equal(drain(ends[0]), 1);
    close(ends[0]);
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), -EPIPE);
    log_sink_done(&sink);
    close(ends[1]);
}

static void a_full_socket_is_not_waited_for(void **state)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct log_sink sink;
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, types[i], 0, ends), 0);
        log_sink_init(&sink, ends[1]);
        assert_true(fill(&sink) > 0);
        assert_blocking(ends[1]);
        close(ends[0]);
        assert_true(log_sink_write(&sink, LINE, LEN, 0) < 0);
        log_sink_done(&sink);
        close(ends[1]);
    }
}

static int open_terminal(int *ret_master)
{
    *ret_master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(*ret_master >= 0);
    assert_int_equal(grantpt(*ret_master), 0);
    assert_int_equal(unlockpt(*ret_master), 0);
    int fd = open(ptsname(*ret_master), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    return fd;
}

static void a_stopped_terminal_is_not_waited_for(void **state)
{
    struct log_sink sink;
    int master, fd = open_terminal(&master);
    log_sink_init(&sink, fd);
    assert_int_equal(sink.kind, LOG_SINK_OWN);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), 0);
    assert_int_equal(tcflow(fd, TCOOFF), 0);
    fill(&sink);
    assert_blocking(fd);
    assert_int_equal(tcflow(fd, TCOON), 0);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 1000), 0);
    close(master);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), -EIO);
    log_sink_done(&sink);
    close(fd);
}

/* Opened again, /dev/ptmx is the controlling end of a new terminal. */
static void the_controlling_end_of_a_terminal_stays_the_same(void **state)
{
    struct log_sink sink;
    char text[LEN];
    int master, fd = open_terminal(&master);
    struct termios settings;
    assert_int_equal(tcgetattr(fd, &settings), 0);
    cfmakeraw(&settings);
    assert_int_equal(tcsetattr(fd, TCSANOW, &settings), 0);
    log_sink_init(&sink, master);
    assert_int_equal(sink.kind, LOG_SINK_POLL);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), 0);
    assert_int_equal(read(fd, text, LEN), LEN);
    log_sink_done(&sink);
    close(fd);
    close(master);
}

/* Whether or not the program has SIGPIPE at its default, which ends it, or handles it. */
static void a_reader_that_has_gone_ends_nobody(void **state)
{
    struct log_sink sink;
    int ends[2];
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(pipe(ends), 0);
    log_sink_init(&sink, ends[1]);
    close(ends[0]);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), -EPIPE);
    log_sink_done(&sink);

    log_sink_init(&sink, ends[1]); /* it had gone before */
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), -EPIPE);
    log_sink_done(&sink);
    close(ends[1]);
}

/* A fifo that has been opened for writing and whose reader has gone. */
struct fifo {
    char folder[32], path[80];
    int fd;
};

static void make_fifo(struct fifo *fifo)
{
    *fifo = (struct fifo){.folder = "/tmp/outboard-test-XXXXXX"};
    assert_non_null(mkdtemp(fifo->folder));
    snprintf(fifo->path, sizeof(fifo->path), "%s/log", fifo->folder);
    assert_int_equal(mkfifo(fifo->path, 0600), 0);
    int first = open(fifo->path, O_RDONLY | O_NONBLOCK);
    fifo->fd = open(fifo->path, O_WRONLY);
    close(first);
}

/* A line is refused without a reader, and arrives when one has come. Undoes make_fifo(). */
static void check_late_reader(struct fifo *fifo, struct log_sink *sink)
{
    assert_int_equal(log_sink_write(sink, LINE, LEN, 0), -EPIPE);
    int second = open(fifo->path, O_RDONLY | O_NONBLOCK);
    assert_int_equal(log_sink_write(sink, LINE, LEN, 0), 0);
    assert_int_equal(drain(second), 1);
    log_sink_done(sink);
    close(second);
    close(fifo->fd);
    unlink(fifo->path);
    assert_int_equal(rmdir(fifo->folder), 0);
}

static void the_reader_of_a_fifo_may_come_later(void **state)
{
    struct log_sink sink;
    struct fifo fifo;
    make_fifo(&fifo);
    log_sink_init(&sink, fifo.fd);
    assert_int_equal(sink.kind, LOG_SINK_ABSENT);
    check_late_reader(&fifo, &sink);
}

/* A descriptor to be opened again, by a program that can't open any, is an error or its end. */
static void a_settled_sink_opens_nothing(void **state)
{
    struct log_sink sink;
    struct fifo fifo;
    make_fifo(&fifo);
    log_sink_init(&sink, fifo.fd);
    log_sink_settle(&sink);
    assert_int_equal(sink.kind, LOG_SINK_SPLICE);
    check_late_reader(&fifo, &sink);
}

static void a_file_keeps_its_place(void **state)
{
    FILE *file = tmpfile();
    struct log_sink sink;
    char text[16] = {0};
    int fd = fileno(file);
    assert_int_equal(write(fd, "before\n", 7), 7);
    log_sink_init(&sink, fd);
    assert_int_equal(log_sink_write(&sink, "log\n", 4, 0), 0);
    assert_int_equal(write(fd, "after\n", 6), 6);
    assert_int_equal(pread(fd, text, sizeof(text), 0), sizeof(text));
    assert_memory_equal(text, "before\nlog\nafter", 16);
    log_sink_done(&sink);
    fclose(file);
}

static void what_takes_no_bytes_says_so(void **state)
{
    struct log_sink sink;
    int fd = open("/dev/full", O_WRONLY);
    log_sink_init(&sink, fd);
    assert_int_equal(log_sink_write(&sink, LINE, LEN, 0), -ENOSPC);
    log_sink_done(&sink);
    close(fd);
    fd = open("/dev/null", O_RDONLY); /* "2</dev/null" gives nobody the right to write */
    log_sink_init(&sink, fd);
    assert_int_equal(sink.kind, LOG_SINK_NONE);
    assert_true(log_sink_write(&sink, LINE, LEN, 0) < 0);
    log_sink_done(&sink);
    close(fd);
    log_sink_init(&sink, fd); /* closed */
    assert_true(log_sink_write(&sink, LINE, LEN, 0) < 0);
    log_sink_done(&sink);
}

/* A line that was cut by a full terminal is ended before the next one. */
static void a_line_that_was_cut_is_ended_first(void **state)
{
    struct log_sink sink;
    char text[32] = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_sink_init(&sink, ends[1]);
    sink.cut = true;
    assert_int_equal(log_sink_write(&sink, "next\n", 5, 0), 0);
    assert_int_equal(read(ends[0], text, sizeof(text)), 6);
    assert_string_equal(text, "\nnext\n");
    log_sink_done(&sink);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_pipe_is_not_waited_for),
        TEST(a_pipe_that_cannot_be_opened_again_is_not_waited_for),
        TEST(a_full_socket_is_not_waited_for),
        TEST(a_stopped_terminal_is_not_waited_for),
        TEST(the_controlling_end_of_a_terminal_stays_the_same),
        TEST(a_reader_that_has_gone_ends_nobody),
        TEST(the_reader_of_a_fifo_may_come_later),
        TEST(a_settled_sink_opens_nothing),
        TEST(a_file_keeps_its_place),
        TEST(what_takes_no_bytes_says_so),
        TEST(a_line_that_was_cut_is_ended_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
