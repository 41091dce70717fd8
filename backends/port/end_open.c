// SPDX-License-Identifier: BSD-3-Clause
#include "port/end_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/number.h"
#include "endpoint/acceptor.h"
#include "port/listener.h"

#define SOCKET_MODE   0600
#define FILE_MODE     0600
#define TERMINAL_PATH 64

static const char *const kinds[] = {
    [END_LISTEN] = "listen", [END_CONNECT] = "connect", [END_TERMINAL] = "pty",
    [END_FILE] = "file",     [END_PIPE] = "pipe",       [END_COMMAND] = "command",
    [END_DESCRIPTOR] = "fd",
};

/* The text behind "KIND:", or NULL; "" for "pty" alone. */
static const char *rest_of(const char *text, enum end_kind kind)
{
    size_t len = strlen(kinds[kind]);
    if (strncmp(text, kinds[kind], len) != 0)
        return NULL;
    if (text[len] == ':')
        return text + len + 1;
    return kind == END_TERMINAL && text[len] == '\0' ? text + len : NULL;
}

int end_source_kind(const char *text)
{
    for (int kind = END_LISTEN; kind <= END_DESCRIPTOR; kind++)
        if (rest_of(text, (enum end_kind)kind))
            return kind;
    return -EINVAL;
}

static int open_listener(struct end_source *source, const char *rest, struct ob_fault *fault)
{
    int err = address_parse_path(rest, &source->address, fault);
    if (err < 0)
        return err;
    err = port_listener_make_way(&source->address, fault);
    if (err < 0)
        return err;
    source->fd = acceptor_open(&source->address, SOCKET_MODE);
    if (source->fd < 0)
        return source->fd;
    if (rest[0] != '@' && socket_find(rest, &source->place) == 0)
        snprintf(source->path, sizeof(source->path), "%s", rest);
    return 0;
}

static int make_raw(int fd)
{
    struct termios terminal;
    if (tcgetattr(fd, &terminal) < 0)
        return -errno;
    cfmakeraw(&terminal);
    return tcsetattr(fd, TCSANOW, &terminal) < 0 ? -errno : 0;
}

/* The other side is opened and closed once: from then on the kernel says whether somebody has it
 * open. */
static int open_terminal(struct end_source *source, const char *rest)
{
    char path[TERMINAL_PATH];
    AUTO_FD master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
        ptsname_r(master, path, sizeof(path)) != 0)
        return -errno;
    AUTO_FD other = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (other < 0)
        return -errno;
    int err = make_raw(other);
    if (err < 0)
        return err;
    if (rest[0]) {
        struct stat there;
        if (lstat(rest, &there) == 0 && S_ISLNK(there.st_mode))
            unlink(rest);
        if (symlink(path, rest) < 0)
            return -errno;
        snprintf(source->path, sizeof(source->path), "%s", rest);
    }
    source->fd = take_fd(&master);
    return 0;
}

static int open_file(struct end_source *source, const char *rest)
{
    source->fd =
        open(rest, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, FILE_MODE);
    return source->fd < 0 ? -errno : 0;
}

/* A FIFO that nobody else has open is read and written by us, so that opening does not wait. */
static int open_fifo(const char *path, const char *suffix)
{
    char name[ADDRESS_NAME_MAX + 8];
    struct stat there;
    snprintf(name, sizeof(name), "%s%s", path, suffix);
    AUTO_FD fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &there) < 0)
        return -errno;
    return S_ISFIFO(there.st_mode) ? take_fd(&fd) : -ENOTSUP;
}

static int open_pipe(struct end_source *source, const char *rest)
{
    AUTO_FD in = open_fifo(rest, ".in");
    AUTO_FD out = in < 0 ? -1 : open_fifo(rest, ".out");
    if (in < 0 || out < 0)
        return in < 0 ? in : out;
    source->fd = take_fd(&in);
    source->out_fd = take_fd(&out);
    return 0;
}

static int open_descriptor(struct end_source *source, const char *rest, struct ob_fault *fault)
{
    uint64_t number;
    if (number_parse(rest, 10, 1u << 20, &number) < 0 || number < 3 ||
        !descriptor_is_open((int)number))
        return ob_fault_set(fault, -EBADF, "fd: got '%.60s', expected an open descriptor above 2",
                            rest);
    struct stat there;
    source->fd = (int)number;
    if (fstat(source->fd, &there) < 0)
        return -errno;
    if (S_ISREG(there.st_mode) || S_ISDIR(there.st_mode))
        return ob_fault_set(fault, -EINVAL,
                            "fd:%s is a file, expected a socket, a pipe or a terminal; give "
                            "file:PATH for a file",
                            rest);
    int flags = fcntl(source->fd, F_GETFL);
    if (flags < 0 || fcntl(source->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(source->fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static int open_kind(struct end_source *source, const char *rest, struct ob_fault *fault)
{
    switch (source->kind) {
    case END_LISTEN:
        return open_listener(source, rest, fault);
    case END_CONNECT:
        return address_parse_path(rest, &source->address, fault);
    case END_TERMINAL:
        return open_terminal(source, rest);
    case END_FILE:
        return open_file(source, rest);
    case END_PIPE:
        return open_pipe(source, rest);
    case END_COMMAND:
        source->command = rest;
        return 0;
    case END_DESCRIPTOR:
        return open_descriptor(source, rest, fault);
    }
    return -EINVAL;
}

int end_source_open(const char *description, const char *name, struct end_source *ret_source,
                    struct ob_fault *fault)
{
    int kind = end_source_kind(description);
    struct end_source source = {.description = description, .name = name, .fd = -1, .out_fd = -1};
    if (kind < 0)
        return ob_fault_set(
            fault, kind,
            "host end: got '%.80s', expected listen:PATH, connect:PATH, pty[:LINK], "
            "file:PATH, pipe:PATH, command:TEXT or fd:N",
            description);
    source.kind = (enum end_kind)kind;
    const char *rest = rest_of(description, source.kind);
    if (source.kind != END_COMMAND && strlen(rest) > ADDRESS_NAME_MAX)
        return ob_fault_set(fault, -ENAMETOOLONG,
                            "%.80s...: the path has %zu bytes, at most %u fit", description,
                            strlen(rest), (unsigned)ADDRESS_NAME_MAX);
    if (!*rest && source.kind != END_TERMINAL)
        return ob_fault_set(fault, -EINVAL, "host end: got '%s', expected a value behind it",
                            description);
    int err = open_kind(&source, rest, fault);
    if (err < 0)
        return ob_fault_set(fault, err, "can't open %.180s: %s", description,
                            err == -ENOTSUP ? "it is no FIFO" : strerror(-err));
    *ret_source = source;
    return 0;
}

void end_source_remove(const struct end_source *source)
{
    if (!source->path[0])
        return;
    if (source->kind == END_LISTEN)
        socket_remove(source->path, &source->place);
    else
        unlink(source->path);
}

void end_source_close(struct end_source *source)
{
    if (source->kind == END_LISTEN && source->fd >= 0)
        socket_listener_close(take_fd(&source->fd));
    auto_close(&source->fd);
    auto_close(&source->out_fd);
    source->fd = source->out_fd = -1;
}
