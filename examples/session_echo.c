// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session over a Unix socket, from a poll loop.
 *
 *   session_echo listen PATH     serves "echo": sends the bytes of each stream back
 *   session_echo connect PATH    opens "echo", sends its standard input, prints the answer
 */
#include <outboard/session.h>

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct program {
    struct ob_session *session;
    struct ob_stream *echo; /* connect: our stream */
    bool input_ended, done;
};

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int draw_nonce(void *user, void *bytes, size_t len)
{
    return getrandom(bytes, len, 0) == (ssize_t)len ? 0 : -EIO;
}

static void on_up(void *user, uint64_t tag)
{
    struct program *program = user;
    int result = ob_stream_open(program->session, "echo", 4, NULL, 0, &program->echo);
    if (result < 0)
        errx(1, "cannot open a stream: %s", strerror(-result));
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    if (open->service_len == 4 && memcmp(open->service, "echo", 4) == 0)
        ob_stream_accept(stream);
    else
        ob_stream_refuse(stream, OB_REASON_NO_SERVICE);
}

/* Echoes as much as there is room for; unread bytes cost the peer its credit. */
static void serve(void *user, struct ob_stream *stream)
{
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(stream, &bytes)) > 0) {
        ssize_t taken = ob_stream_write(stream, bytes, (size_t)len);
        if (taken <= 0)
            return;
        ob_stream_consume(stream, (size_t)taken);
    }
    if (len == 0) {
        ob_stream_shutdown(stream);
        ob_stream_free(stream);
    }
}

static void print(void *user, struct ob_stream *stream)
{
    struct program *program = user;
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(stream, &bytes)) > 0) {
        fwrite(bytes, 1, (size_t)len, stdout);
        ob_stream_consume(stream, (size_t)len);
    }
    program->done = len == 0;
}

static void on_reset(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct program *program = user;
    if (stream == program->echo)
        errx(1, "the stream is over: %s", ob_reason_text(reason));
    ob_stream_free(stream);
}

static int open_socket(bool listens, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path) + 1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || size > sizeof(address.sun_path))
        err(1, "%s", path);
    memcpy(address.sun_path, path, size);
    if (!listens) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            err(1, "%s", path);
        return fd;
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        err(1, "%s", path);
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        err(1, "accept");
    close(fd);
    return peer;
}

static void send_some(struct ob_session *session, int fd)
{
    struct iovec iov[64];
    struct msghdr message = {.msg_iov = iov};
    message.msg_iovlen = (size_t)ob_session_transmit(session, iov, 64, now());
    ob_session_transmitted(session, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static bool receive_some(struct ob_session *session, int fd)
{
    static char bytes[65536];
    ssize_t len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (len < 0)
        return errno == EAGAIN;
    if (ob_session_receive(session, bytes, (size_t)len, now()) < 0)
        errx(1, "%s", ob_session_fault(session)->text);
    return len > 0;
}

/* Reads the terminal only when the stream has room for it: the peer's pace becomes ours. */
static void read_input(struct program *program)
{
    char bytes[4096];
    ssize_t len = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (len > 0 && ob_stream_write(program->echo, bytes, (size_t)len) == len)
        return;
    program->input_ended = true;
    ob_stream_shutdown(program->echo);
}

static bool wants_input(const struct program *program)
{
    struct ob_stream_stats stats = {0};
    if (!program->echo || program->input_ended)
        return false;
    ob_stream_stats(program->echo, &stats);
    return stats.unsent <= 32768; /* half of the default send buffer */
}

static void run(struct program *program, int fd)
{
    while (!program->done) {
        short output = ob_session_has_output(program->session) ? POLLOUT : 0;
        struct pollfd fds[] = {
            {.fd = fd, .events = (short)(POLLIN | output)},
            {.fd = wants_input(program) ? STDIN_FILENO : -1, .events = POLLIN},
        };
        /* No timeouts are configured and the channel is clean, so there is no deadline. */
        if (poll(fds, 2, -1) < 0)
            err(1, "poll");
        if (fds[0].revents & POLLOUT)
            send_some(program->session, fd);
        if (fds[0].revents & ~POLLOUT && !receive_some(program->session, fd))
            return;
        if (fds[1].revents)
            read_input(program);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "listen") != 0 && strcmp(argv[1], "connect") != 0))
        errx(2, "usage: session_echo listen|connect PATH");
    bool listens = argv[1][0] == 'l';
    struct program program = {0};
    struct ob_session_config config = {
        .size = sizeof(config),
        .channel = OB_CHANNEL_STREAM,
        .random = draw_nonce,
        .user = &program,
        .events = {.up = listens ? NULL : on_up,
                   .incoming = listens ? on_incoming : NULL,
                   .readable = listens ? serve : print,
                   .writable = listens ? serve : NULL,
                   .refused = on_reset,
                   .reset = on_reset},
    };
    int fd = open_socket(listens, argv[2]);
    if (ob_session_new(&config, &program.session) < 0 ||
        ob_session_transport_up(program.session, now()) < 0)
        errx(1, "cannot start a session");
    run(&program, fd);
    ob_session_free(program.session);
    close(fd);
    return 0;
}
