// SPDX-License-Identifier: BSD-3-Clause
#include "os/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/write_signals.h"

/* Own descriptors lie above those that launchers hand over by number. */
#define OWN_FD_MIN 64

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FD_MIN);
    if (high < 0) /* few descriptors are allowed */
        return fd;
    close(fd);
    return high;
}

/* Opens the file of fd again. Returns the descriptor or a negative errno. */
static int open_again(int fd)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int opened = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return opened < 0 ? -errno : move_up(opened);
}

/* The controlling end of a pseudo-terminal: opened again it would be another terminal's. */
static bool is_terminal_master(int fd)
{
    unsigned number;
    return ioctl(fd, TIOCGPTN, &number) == 0;
}

/* Without a description of its own. */
static void share(struct log_sink *sink, bool is_pipe)
{
    sink->kind = LOG_SINK_POLL;
    if (is_pipe && pipe2(sink->pipe_fd, O_CLOEXEC | O_NONBLOCK) == 0) {
        sink->pipe_fd[0] = move_up(sink->pipe_fd[0]);
        sink->pipe_fd[1] = move_up(sink->pipe_fd[1]);
        sink->kind = LOG_SINK_SPLICE;
    }
}

static void own(struct log_sink *sink, bool is_pipe)
{
    sink->own_fd = open_again(sink->fd);
    if (sink->own_fd >= 0)
        sink->kind = LOG_SINK_OWN;
    else if (sink->own_fd == -ENXIO && is_pipe)
        sink->kind = LOG_SINK_ABSENT;
    else
        share(sink, is_pipe);
}

void log_sink_init(struct log_sink *sink, int fd)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    *sink = (struct log_sink){.fd = fd, .own_fd = -1, .pipe_fd = {-1, -1}};
    if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY || fstat(fd, &status) < 0)
        return;
    sink->kind = LOG_SINK_FILE;
    if (S_ISSOCK(status.st_mode))
        sink->kind = LOG_SINK_SOCKET;
    else if (S_ISFIFO(status.st_mode))
        own(sink, true);
    else if (S_ISCHR(status.st_mode) && is_terminal_master(fd))
        share(sink, false);
    else if (S_ISCHR(status.st_mode))
        own(sink, false);
}

void log_sink_settle(struct log_sink *sink)
{
    if (sink->kind == LOG_SINK_ABSENT)
        share(sink, true);
}

void log_sink_done(struct log_sink *sink)
{
    auto_close(&sink->own_fd);
    auto_close(&sink->pipe_fd[0]);
    auto_close(&sink->pipe_fd[1]);
    *sink = (struct log_sink){.fd = -1, .own_fd = -1, .pipe_fd = {-1, -1}};
}

static int wait_for_room(int fd, int wait_ms)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    int count = poll(&room, 1, wait_ms);
    return count > 0 ? 0 : -EAGAIN;
}

static ssize_t splice_line(const struct log_sink *sink, const char *line, size_t len)
{
    char rest[512];
    ssize_t done = write(sink->pipe_fd[1], line, len);
    if (done > 0)
        done = splice(sink->pipe_fd[0], NULL, sink->fd, NULL, (size_t)done, SPLICE_F_NONBLOCK);
    int err = errno;
    while (read(sink->pipe_fd[0], rest, sizeof(rest)) > 0)
        ;
    errno = err;
    return done;
}

static ssize_t try_once(const struct log_sink *sink, const char *line, size_t len)
{
    int fd = sink->kind == LOG_SINK_OWN ? sink->own_fd : sink->fd;
    switch (sink->kind) {
    case LOG_SINK_SOCKET:
        return send(fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case LOG_SINK_SPLICE:
        return splice_line(sink, line, len);
    case LOG_SINK_POLL:
        if (wait_for_room(fd, 0) < 0) {
            errno = EAGAIN;
            return -1;
        }
        break;
    case LOG_SINK_NONE:
    case LOG_SINK_ABSENT:
        errno = EPIPE;
        return -1;
    default:
        break;
    }
    return write(fd, line, len);
}

/* Returns the length that was written or a negative errno. */
static ssize_t try_quietly(const struct log_sink *sink, const char *line, size_t len)
{
    sigset_t before;
    write_signals_hold(&before);
    ssize_t done = try_once(sink, line, len);
    int err = done < 0 ? -errno : 0;
    write_signals_release(&before, err == -EPIPE);
    return err < 0 ? err : done;
}

/* Writes as much as there is room for. Returns the length or a negative errno. */
static ssize_t put(const struct log_sink *sink, const char *line, size_t len, int wait_ms)
{
    bool waited = wait_ms == 0;
    for (;;) {
        ssize_t done = try_quietly(sink, line, len);
        if (done == -EINTR)
            continue;
        if (done != -EAGAIN || waited)
            return done;
        if (wait_for_room(sink->fd, wait_ms) < 0)
            return -EAGAIN;
        waited = true;
    }
}

int log_sink_write(struct log_sink *sink, const char *line, size_t len, int wait_ms)
{
    if (sink->kind == LOG_SINK_ABSENT)
        own(sink, true);
    if (sink->cut) {
        ssize_t ended = put(sink, "\n", 1, wait_ms);
        if (ended != 1)
            return ended < 0 ? (int)ended : -EAGAIN;
        sink->cut = false;
    }
    ssize_t done = put(sink, line, len, wait_ms);
    if (done < 0)
        return (int)done;
    sink->cut = (size_t)done < len;
    return 0;
}
