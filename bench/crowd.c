// SPDX-License-Identifier: BSD-3-Clause
/*
 * One blocked stream among many: outboard-vmchannel with 500 ports and outboard-vsock with 1,000
 * connections, over vfio-user, to a driver of the bench's own.
 *
 * Each stream leads to a process of the host that sends back what it gets. In turns, the first
 * stream is idle, or blocked in both directions: its guest and its host have written as much as
 * goes, and neither reads. Each turn measures the others: bytes that all of them send and get back at
 * once, and messages of 64 bytes there and back, one after the other. The result is the median of
 * the rounds' ratios.
 */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"
#include "statistics.h"

#define ROUNDS_MAX    100u
#define ROUNDS        41u
#define PIECE         2048u /* bytes of a packet of the throughput's */
#define WINDOW        2u    /* pieces of a stream under way */
#define PIECES        16u   /* of each stream in a turn */
#define MESSAGE       64u
#define MESSAGES      500u
#define LEAST_RATIO   0.9
#define ARGUMENTS_MAX (CROWD_MAX + 8)
#define EVENTS        64
#define LISTENER      (UINT64_C(1) << 32) /* in an event's data */

enum measure {
    THROUGHPUT,
    LATENCY,
    MEASURES,
};

/* Seconds of a turn. */
struct rows {
    double idle[MEASURES][ROUNDS_MAX], blocked[MEASURES][ROUNDS_MAX];
};

struct place {
    const struct crowd_kind *kind;
    char folder[64];
};

int crowd_socket(const char *path, bool listens)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const size_t len = strlen(path);
    if (fd < 0 || len >= sizeof(address.sun_path))
        bench_die("no socket for %s", path);
    memcpy(address.sun_path, path, len);
    const struct sockaddr *where = (const struct sockaddr *)&address;
    const int err = listens ? bind(fd, where, sizeof(address)) || listen(fd, 128)
                            : connect(fd, where, sizeof(address));
    if (err != 0)
        bench_die("%s: %s", path, strerror(errno));
    return fd;
}

void crowd_watch(int set, int fd, bool is_listener)
{
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 = (uint64_t)fd | (is_listener ? LISTENER : 0)};
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die("can't wait for a stream: %s", strerror(errno));
}

/* --- the host's programs ------------------------------------------------------------------- */

static void echo(int set, int fd)
{
    static char bytes[65536];
    const ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
    for (ssize_t at = 0, put; at < got; at += put)
        if ((put = send(fd, bytes + at, (size_t)(got - at), MSG_NOSIGNAL)) < 0)
            return;
}

static void run_echoes(int fd, const void *argument)
{
    const struct place *place = argument;
    struct epoll_event events[EVENTS];
    const int set = place->kind->open_echoes(place->folder);
    crowd_watch(set, fd, false);
    if (write(fd, "r", 1) != 1)
        return;
    for (;;) {
        const int count = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            const int from = (int)(uint32_t)events[i].data.u64;
            if (from == fd)
                return;
            if (events[i].data.u64 & LISTENER)
                place->kind->accept_echoes(set, from);
            else
                echo(set, from);
        }
    }
}

/* --- the streams --------------------------------------------------------------------------- */

static void receive_one(struct crowd *crowd, unsigned *ret_member, uint32_t *ret_len)
{
    const struct crowd_kind *kind = crowd->kind;
    for (;;) {
        if (!kind->receive(crowd, ret_member, ret_len)) {
            kind->flush(crowd);
            virtio_driver_wait(&crowd->driver);
        } else if (*ret_member != 0) {
            return;
        }
    }
}

static double send_pieces(struct crowd *crowd)
{
    static uint32_t left[CROWD_MAX], came[CROWD_MAX];
    const struct crowd_kind *kind = crowd->kind;
    const uint64_t start_ns = clock_now_ns();
    uint64_t total = (uint64_t)(kind->members - 1) * PIECES * PIECE;
    for (unsigned member = 1; member < kind->members; member++) {
        left[member] = PIECES - WINDOW;
        came[member] = 0;
        for (unsigned i = 0; i < WINDOW; i++)
            kind->send(crowd, member, PIECE);
    }
    kind->flush(crowd);
    while (total > 0) {
        unsigned member;
        uint32_t len;
        receive_one(crowd, &member, &len);
        total -= len;
        for (came[member] += len; came[member] >= PIECE; came[member] -= PIECE)
            if (left[member] > 0) {
                left[member]--;
                kind->send(crowd, member, PIECE);
            }
    }
    kind->flush(crowd);
    return (double)(clock_now_ns() - start_ns) / 1e9;
}

static double send_messages(struct crowd *crowd)
{
    const struct crowd_kind *kind = crowd->kind;
    const uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint32_t came = 0, len;
        unsigned member;
        kind->send(crowd, 1 + i % (kind->members - 1), MESSAGE);
        kind->flush(crowd);
        for (; came < MESSAGE; came += len)
            receive_one(crowd, &member, &len);
    }
    return (double)(clock_now_ns() - start_ns) / 1e9;
}

/* --- the first stream ---------------------------------------------------------------------- */

/* Both ends write until nothing goes any more, and none reads. */
static void block(struct crowd *crowd)
{
    static const char bytes[65536];
    const struct crowd_kind *kind = crowd->kind;
    unsigned quiet = 0;
    kind->read_first(crowd, false);
    while (quiet < 3) { /* a round trip of another stream between: what was under way has come */
        uint32_t len;
        unsigned member;
        const bool sends = kind->has_room(crowd);
        if (sends)
            kind->send(crowd, 0, PIECE);
        const bool writes =
            send(crowd->first_fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
        quiet = sends || writes ? 0 : quiet + 1;
        kind->send(crowd, 1, MESSAGE);
        kind->flush(crowd);
        for (uint32_t came = 0; came < MESSAGE; came += len)
            receive_one(crowd, &member, &len);
    }
}

/* Both ends read all that there is. */
static void unblock(struct crowd *crowd)
{
    static char bytes[65536];
    const struct crowd_kind *kind = crowd->kind;
    unsigned quiet = 0;
    kind->read_first(crowd, true);
    while (quiet < 3) {
        unsigned member = 0;
        uint32_t len, came = 0;
        bool moves = recv(crowd->first_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
        kind->send(crowd, 1, MESSAGE);
        kind->flush(crowd);
        while (came < MESSAGE) {
            if (!kind->receive(crowd, &member, &len)) {
                kind->flush(crowd);
                virtio_driver_wait(&crowd->driver);
                continue;
            }
            moves |= member == 0;
            came += member == 0 ? 0 : len;
        }
        quiet = moves ? 0 : quiet + 1;
    }
    kind->read_first(crowd, true); /* vsock: what came meanwhile has been read */
}

/* --- rounds -------------------------------------------------------------------------------- */

static void start(struct crowd *crowd, struct place *place, const char *programs)
{
    char program[512], device[96];
    char *argv[ARGUMENTS_MAX] = {program, device, "--poll-us=0"};
    unsigned count = 3;
    *crowd = (struct crowd){.kind = place->kind};
    snprintf(program, sizeof(program), "%s/%s", programs, place->kind->program);
    snprintf(device, sizeof(device), "--fd=%d", BENCH_PEER_FD);
    argv[count++] = "--wire=vfio-user";
    place->kind->add_options(place->folder, argv, &count);
    crowd->device = bench_start(argv, -1, NULL);
    virtio_driver_start(&crowd->driver, crowd->device.fd, place->kind->features,
                        place->kind->memory_len);
    char ready;
    crowd->echoes = bench_fork(run_echoes, place, -1);
    if (read(crowd->echoes.fd, &ready, 1) != 1)
        bench_die("the host's programs have not started");
    place->kind->open(crowd, place->folder, &crowd->first_fd);
}

static void measure(struct crowd *crowd, unsigned rounds, struct rows *rows)
{
    send_pieces(crowd);
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned turn = 0; turn < 2; turn++) {
            const bool blocks = (round + turn) % 2;
            if (blocks)
                block(crowd);
            (blocks ? rows->blocked : rows->idle)[THROUGHPUT][round] = send_pieces(crowd);
            (blocks ? rows->blocked : rows->idle)[LATENCY][round] = send_messages(crowd);
            if (blocks)
                unblock(crowd);
        }
}

static void print(const struct crowd_kind *kind, unsigned rounds, struct rows *rows)
{
    static const char *const names[] = {"throughput", "latency"};
    for (enum measure i = 0; i < MEASURES; i++) {
        double scratch[ROUNDS_MAX] = {0};
        const double ratio =
            statistics_median_ratio(rows->idle[i], rows->blocked[i], scratch, rounds);
        const double s = statistics_median(rows->blocked[i], rounds);
        fprintf(stderr,
                "  one blocked of %u %-12s %-10s %5.2f of that with none blocked  at least %.2f  "
                "%s  (%.1f %s)\n",
                kind->members, kind->name, names[i], ratio, LEAST_RATIO,
                ratio >= LEAST_RATIO ? "met" : "MISSED",
                i == THROUGHPUT ? (kind->members - 1.0) * PIECES * PIECE / s / 1048576
                                : s / MESSAGES * 1e6,
                i == THROUGHPUT ? "MiB/s there and back" : "us there and back");
        printf(", \"%s_%s\": %.3f", kind->name, names[i], ratio);
    }
}

static void run(const struct crowd_kind *kind, const char *programs, unsigned rounds)
{
    static struct rows rows;
    struct place place = {.kind = kind};
    struct crowd crowd;
    snprintf(place.folder, sizeof(place.folder), "/tmp/outboard-crowd-XXXXXX");
    if (!mkdtemp(place.folder))
        bench_die("no folder: %s", strerror(errno));
    start(&crowd, &place, programs);
    measure(&crowd, rounds, &rows);
    print(kind, rounds, &rows);
    close(crowd.first_fd);
    virtio_driver_stop(&crowd.driver);
    bench_end(&crowd.echoes);
    bench_end(&crowd.device);
    kind->close(&crowd);
    rmdir(place.folder);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    const int rounds = argc == 3 ? atoi(argv[2]) : (int)ROUNDS;
    if (argc < 2 || argc > 3 || rounds < 1 || rounds > (int)ROUNDS_MAX) {
        fprintf(stderr, "usage: crowd PROGRAMS [ROUNDS]\n");
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    printf("{\"bench\": \"crowd\", \"wire\": \"vfio-user\", \"rounds\": %d", rounds);
    run(&crowd_ports, argv[1], (unsigned)rounds);
    run(&crowd_connections, argv[1], (unsigned)rounds);
    printf("}\n");
    return 0;
}
