// SPDX-License-Identifier: BSD-3-Clause
/* Devices that become channels: a pseudo terminal stands for the serial line. */
#include "proxy/channel_open.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct line {
    int master, slave;
    char path[64];
};

static void make_line(struct line *line)
{
    assert_int_equal(openpty(&line->master, &line->slave, line->path, NULL, NULL), 0);
}

static void end_line(struct line *line)
{
    close(line->slave);
    close(line->master);
}

static void a_line_is_raw_at_its_speed(void **state)
{
    struct line line;
    struct termios at_first, now;
    struct terminal before;
    make_line(&line);
    assert_int_equal(tcgetattr(line.slave, &at_first), 0);
    int fd = channel_open_serial(line.path, 57600, &before);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(tcgetattr(fd, &now), 0);
    assert_int_equal(cfgetispeed(&now), B57600);
    assert_int_equal(cfgetospeed(&now), B57600);
    assert_int_equal(now.c_cflag & CSIZE, CS8);
    assert_true((now.c_cflag & CLOCAL) && (now.c_cflag & CREAD));
    assert_false(now.c_cflag & (CRTSCTS | HUPCL | PARENB));
    assert_false(now.c_lflag & (ICANON | ECHO | ISIG));
    assert_false(now.c_iflag & (IXON | ICRNL | INLCR | ISTRIP));
    assert_false(now.c_oflag & OPOST);
    assert_int_equal(before.settings.c_lflag, at_first.c_lflag);
    terminal_put_back(fd, &before);
    assert_int_equal(tcgetattr(fd, &now), 0);
    assert_int_equal(now.c_lflag, at_first.c_lflag);
    assert_int_equal(cfgetospeed(&now), cfgetospeed(&at_first));
    close(fd);
    end_line(&line);
}

/* All bytes go through, of both directions: what a terminal would take for a command, too. */
static void every_byte_goes_through(void **state)
{
    struct line line;
    struct terminal before;
    uint8_t bytes[256], got[256];
    make_line(&line);
    int fd = channel_open_serial(line.path, 115200, &before);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    for (int back = 0; back < 2; back++) {
        size_t len = 0;
        assert_int_equal(write(back ? fd : line.master, bytes, sizeof(bytes)), sizeof(bytes));
        while (len < sizeof(got)) {
            struct pollfd look = {.fd = back ? line.master : fd, .events = POLLIN};
            assert_int_equal(poll(&look, 1, -1), 1);
            ssize_t more = read(look.fd, got + len, sizeof(got) - len);
            assert_true(more > 0);
            len += (size_t)more;
        }
        assert_memory_equal(got, bytes, sizeof(bytes));
    }
    close(fd);
    end_line(&line);
}

static void speeds_are_those_of_serial_lines(void **state)
{
    static const uint32_t speeds[] = {9600,   19200,  38400,   57600,   115200,  230400,
                                      460800, 921600, 1000000, 1500000, 2000000, 4000000};
    static const uint32_t others[] = {0, 1, 9599, 9601, 14400, 115201, 3999999, UINT32_MAX};
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
        assert_true(channel_has_speed(speeds[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(channel_has_speed(others[i]));
}

static void a_wrong_speed_changes_nothing(void **state)
{
    struct line line;
    struct termios at_first, now;
    struct terminal before = {.flags = 77};
    make_line(&line);
    assert_int_equal(tcgetattr(line.slave, &at_first), 0);
    assert_int_equal(channel_open_serial(line.path, 12345, &before), -EINVAL);
    assert_int_equal(channel_prepare_serial(line.slave, 0, &before), -EINVAL);
    assert_int_equal(channel_open_serial("/no/such/line", 12345, &before), -EINVAL);
    assert_int_equal(tcgetattr(line.slave, &now), 0);
    assert_int_equal(now.c_lflag, at_first.c_lflag);
    assert_int_equal(before.flags, 77); /* untouched */
    end_line(&line);
}

static void what_is_no_line_is_an_errno(void **state)
{
    struct terminal before = {.flags = 77};
    assert_int_equal(channel_open_serial("/no/such/line", 9600, &before), -ENOENT);
    assert_int_equal(channel_open_serial("/dev/null", 9600, &before), -ENOTTY);
    assert_int_equal(channel_open_serial("/tmp", 9600, &before), -EISDIR);
    assert_int_equal(channel_open_path(""), -ENOENT);
    assert_int_equal(before.flags, 77);
}

/* A leader of a session without a terminal would get it as its own, and be hung up with it. */
static void it_does_not_become_the_controlling_terminal(void **state)
{
    struct line line;
    int status;
    make_line(&line);
    pid_t pid = fork();
    if (pid == 0) {
        struct terminal before;
        setsid();
        int fd = channel_open_serial(line.path, 9600, &before);
        int terminal = open("/dev/tty", O_RDWR);
        _exit(fd >= 0 && terminal < 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    end_line(&line);
}

static void a_port_that_is_not_there_is_an_errno(void **state)
{
    char name[256];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(channel_open_virtio("org.outboard.test.none"), -ENOENT);
    assert_int_equal(channel_open_virtio(name), -ENOENT);
    assert_int_equal(channel_open_virtio("vport*"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_raw_at_its_speed),
        TEST(every_byte_goes_through),
        TEST(speeds_are_those_of_serial_lines),
        TEST(a_wrong_speed_changes_nothing),
        TEST(what_is_no_line_is_an_errno),
        TEST(it_does_not_become_the_controlling_terminal),
        TEST(a_port_that_is_not_there_is_an_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
