// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session engine alone, over one Unix socket between two processes: bytes per second with any
 * number of streams, the latency of a 64-byte echo against that of a bare socket in the same run,
 * and the memory of idle streams. One JSON line per figure.
 */
#include <outboard/session.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE    (256u << 10)
#define LEND_SIZE    (256u << 10)
#define ECHO_SIZE    64
#define STREAMS_MAX  10000
#define SOCKET_BYTES (1u << 20)

/* One end: its engine, its socket, and what it does with its streams. */
struct side {
    struct ob_session *session;
    int fd;
    uint8_t *buffer;
    bool up;
    bool echoes; /* sends back what it reads */
    int opened;
    uint64_t received, wanted;
};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int draw(void *user, void *bytes, size_t len)
{
    return getrandom(bytes, len, 0) == (ssize_t)len ? 0 : -EIO;
}

static void on_up(void *user, uint64_t tag)
{
    ((struct side *)user)->up = true;
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    ob_stream_accept(stream);
}

static void on_opened(void *user, struct ob_stream *stream)
{
    ((struct side *)user)->opened++;
}

static void on_readable(void *user, struct ob_stream *stream)
{
    struct side *side = user;
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(stream, &bytes)) > 0) {
        if (side->echoes && ob_stream_write(stream, bytes, (size_t)len) != len)
            die("echo");
        ob_stream_consume(stream, (size_t)len);
        side->received += (uint64_t)len;
    }
}

/* Lends the same memory again and again: the sender is never the bottleneck. */
static void on_writable(void *user, struct ob_stream *stream)
{
    struct side *side = user;
    if (!side->echoes && ob_stream_user(stream))
        ob_stream_lend(stream, ob_stream_user(stream), LEND_SIZE);
}

static void side_init(struct side *side, enum ob_channel channel, int fd)
{
    *side = (struct side){.fd = fd, .buffer = malloc(READ_SIZE)};
    struct ob_session_config config = {
        .size = sizeof(config),
        .channel = channel,
        .random = draw,
        .user = side,
        .max_streams = STREAMS_MAX,
        .events = {.up = on_up,
                   .incoming = on_incoming,
                   .opened = on_opened,
                   .readable = on_readable,
                   .writable = on_writable},
    };
    if (ob_session_new(&config, &side->session) < 0 ||
        ob_session_transport_up(side->session, now()) < 0)
        die("session");
}

/* Writes what can be written. Returns false when the socket is full. */
static bool flush(struct side *side)
{
    while (ob_session_has_output(side->session)) {
        struct iovec iov[64];
        struct msghdr message = {.msg_iov = iov};
        message.msg_iovlen = (size_t)ob_session_transmit(side->session, iov, 64, now());
        ssize_t len = sendmsg(side->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        ob_session_transmitted(side->session, len);
        if (len < 0)
            return false;
    }
    return true;
}

/* One turn of the loop; false when the peer has hung up. */
static bool turn(struct side *side)
{
    if (!flush(side)) {
        struct pollfd poller = {.fd = side->fd, .events = POLLIN | POLLOUT};
        if (poll(&poller, 1, -1) < 0)
            die("poll");
        if (!(poller.revents & ~POLLOUT))
            return true;
    }
    ssize_t len = recv(side->fd, side->buffer, READ_SIZE, 0);
    if (len <= 0)
        return false;
    if (ob_session_receive(side->session, side->buffer, (size_t)len, now()) < 0)
        die(ob_session_fault(side->session)->text);
    return true;
}

/* What the child does with what it gets. */
enum child {
    BARE,
    CLEAN,
    LINE,
};

/* A child that answers until this side hangs up; gives our end of the socket. */
static int spawn(enum child kind, bool echoes, pid_t *ret_child)
{
    int fds[2], size = SOCKET_BYTES;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        die("socketpair");
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    *ret_child = fork();
    if (*ret_child < 0)
        die("fork");
    if (*ret_child) {
        close(fds[1]);
        return fds[0];
    }
    close(fds[0]);
    if (kind != BARE) {
        struct side side;
        side_init(&side, kind == LINE ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM, fds[1]);
        side.echoes = echoes;
        bool goes_on = true;
        while (goes_on)
            goes_on = turn(&side);
    } else {
        uint8_t bytes[READ_SIZE];
        ssize_t len;
        while ((len = recv(fds[1], bytes, sizeof(bytes), 0)) > 0) {
            if (echoes && send(fds[1], bytes, (size_t)len, 0) != len)
                break;
        }
    }
    _exit(0);
}

static void open_streams(struct side *side, struct ob_stream **streams, int count)
{
    while (!side->up)
        turn(side);
    for (int i = 0; i < count; i++) {
        if (ob_stream_open(side->session, "bench", 5, NULL, 0, &streams[i]) < 0)
            die("open");
    }
    while (side->opened < count)
        turn(side);
}

static void side_done(struct side *side, pid_t child)
{
    close(side->fd);
    ob_session_free(side->session);
    free(side->buffer);
    waitpid(child, NULL, 0);
}

static double bare_throughput(double seconds)
{
    static uint8_t bytes[LEND_SIZE];
    pid_t child;
    int fd = spawn(BARE, false, &child);
    uint64_t start = now(), sent = 0, taken = 0;
    while ((taken = now() - start) < seconds * 1e9) {
        ssize_t len = send(fd, bytes, sizeof(bytes), 0);
        if (len < 0)
            die("send");
        sent += (uint64_t)len;
    }
    close(fd);
    waitpid(child, NULL, 0);
    return (double)sent / (double)taken;
}

static double throughput(enum child kind, int count, double seconds)
{
    static struct ob_stream *streams[STREAMS_MAX];
    static uint8_t bytes[LEND_SIZE];
    struct ob_session_stats before, after;
    struct side side;
    pid_t child;
    side_init(&side, kind == LINE ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM,
              spawn(kind, false, &child));
    open_streams(&side, streams, count);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * i >> 4);
    for (int i = 0; i < count; i++) {
        ob_stream_set_user(streams[i], bytes);
        ob_stream_lend(streams[i], bytes, sizeof(bytes));
    }
    ob_session_stats(side.session, &before);
    uint64_t start = now(), taken = 0;
    while ((taken = now() - start) < seconds * 1e9)
        turn(&side);
    ob_session_stats(side.session, &after);
    side_done(&side, child);
    return (double)(after.bytes_transmitted - before.bytes_transmitted) / (double)taken;
}

static double bare_echo_us(int rounds)
{
    uint8_t bytes[ECHO_SIZE] = {0};
    pid_t child;
    int fd = spawn(BARE, true, &child);
    uint64_t start = now();
    for (int i = 0; i < rounds; i++) {
        if (send(fd, bytes, sizeof(bytes), 0) != sizeof(bytes) ||
            recv(fd, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
            die("echo");
    }
    double us = (double)(now() - start) / 1e3 / rounds;
    close(fd);
    waitpid(child, NULL, 0);
    return us;
}

static double echo_us(int rounds)
{
    uint8_t bytes[ECHO_SIZE] = {0};
    struct ob_stream *stream;
    struct side side;
    pid_t child;
    side_init(&side, OB_CHANNEL_STREAM, spawn(CLEAN, true, &child));
    open_streams(&side, &stream, 1);
    uint64_t start = now();
    for (int i = 0; i < rounds; i++) {
        if (ob_stream_write(stream, bytes, sizeof(bytes)) != sizeof(bytes))
            die("write");
        side.wanted += sizeof(bytes);
        while (side.received < side.wanted)
            turn(&side);
    }
    double us = (double)(now() - start) / 1e3 / rounds;
    side_done(&side, child);
    return us;
}

/* Bytes of memory at one end per stream that has carried something and is idle now. */
static double idle_bytes(int count)
{
    static struct ob_stream *streams[STREAMS_MAX];
    struct side side;
    pid_t child;
    side_init(&side, OB_CHANNEL_STREAM, spawn(CLEAN, true, &child));
    while (!side.up)
        turn(&side);
    struct mallinfo2 before = mallinfo2();
    open_streams(&side, streams, count);
    for (int i = 0; i < count; i++) {
        ob_stream_write(streams[i], "hello", 5);
        side.wanted += 5;
        flush(&side);
    }
    while (side.received < side.wanted)
        turn(&side);
    struct mallinfo2 after = mallinfo2();
    side_done(&side, child);
    return (double)(after.uordblks - before.uordblks) / count;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Floor and figure by turns, so that what else the machine does meets both. */
static void print_echo(int rounds)
{
    enum {
        TURNS = 7
    };
    double bare[TURNS], ours[TURNS];
    for (int i = 0; i < TURNS; i++) {
        bare[i] = bare_echo_us(rounds);
        ours[i] = echo_us(rounds);
    }
    qsort(bare, TURNS, sizeof(bare[0]), by_value);
    qsort(ours, TURNS, sizeof(ours[0]), by_value);
    printf("{\"bench\": \"session-echo\", \"bytes\": %d, \"us\": %.2f, \"bare_us\": %.2f, "
           "\"ratio\": %.3f}\n",
           ECHO_SIZE, ours[TURNS / 2], bare[TURNS / 2], ours[TURNS / 2] / bare[TURNS / 2]);
}

static void print_throughput(double seconds)
{
    static const struct {
        enum child kind;
        int streams;
    } runs[] = {{CLEAN, 1}, {CLEAN, 100}, {LINE, 1}, {LINE, 100}};
    double bare = bare_throughput(seconds);
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        double ours = throughput(runs[i].kind, runs[i].streams, seconds);
        printf("{\"bench\": \"session-throughput\", \"channel\": \"%s\", \"streams\": %d, "
               "\"gb_per_s\": %.3f, \"bare_gb_per_s\": %.3f, \"ratio\": %.3f}\n",
               runs[i].kind == LINE ? "line" : "clean", runs[i].streams, ours, bare, ours / bare);
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    if (argc > 2 || !(seconds > 0)) {
        fprintf(stderr, "usage: bench-session [SECONDS]\n");
        return 2;
    }
    print_throughput(seconds);
    print_echo((int)(seconds * 5000));
    printf("{\"bench\": \"session-idle\", \"streams\": %d, \"bytes_per_stream\": %.0f}\n",
           STREAMS_MAX, idle_bytes(STREAMS_MAX));
    return 0;
}
