// SPDX-License-Identifier: BSD-3-Clause
#include "pong.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "os/clock.h"
#include "wire/mpqemu.h"

#define SPINS 100000

static const uint8_t reply[MPQEMU_HEADER_LEN + MPQEMU_RET_LEN];
static const uint8_t request[MPQEMU_HEADER_LEN + MPQEMU_BAR_LEN];

static void answer(int fd, unsigned spins)
{
    uint8_t message[MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN];
    for (;;) {
        ssize_t got = -1;
        for (unsigned i = 0; got < 0 && i < spins; i++)
            got = recv(fd, message, sizeof(message), MSG_DONTWAIT);
        if (got < 0)
            got = recv(fd, message, sizeof(message), 0);
        if (got <= 0 || send(fd, reply, sizeof(reply), 0) < 0)
            return;
    }
}

static void answer_polling(int fd)
{
    answer(fd, SPINS);
}

static void answer_blocking(int fd)
{
    answer(fd, 0);
}

struct bench_process pong_start(bool polls, int processor)
{
    return bench_fork(polls ? answer_polling : answer_blocking, processor);
}

static void round_trip(int fd, bool polls)
{
    uint8_t message[sizeof(reply)];
    ssize_t got = -1;
    if (send(fd, request, sizeof(request), 0) != sizeof(request))
        bench_die("the ping-pong took no message: %s", strerror(errno));
    do {
        got = recv(fd, message, sizeof(message), polls ? MSG_DONTWAIT : 0);
    } while (got < 0 && errno == EAGAIN);
    if (got != sizeof(message))
        bench_die("the ping-pong has ended");
}

double pong_round_trip_us(const struct bench_process *pong, bool polls, unsigned count)
{
    for (unsigned i = 0; i < count / 8; i++)
        round_trip(pong->fd, polls);
    uint64_t start_ns = clock_now_ns();
    for (unsigned i = 0; i < count; i++)
        round_trip(pong->fd, polls);
    return (double)(clock_now_ns() - start_ns) / count / 1000;
}
