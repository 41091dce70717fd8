// SPDX-License-Identifier: BSD-3-Clause
#include "exchange.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "os/clock.h"

#define BURST   40 /* round trips timed together */
#define WARM_UP 20 /* before them: enough for a server to begin to poll */

/* How often the polling pong looks before it blocks: about as long as a device that is told to poll
 * for as long as it can, 1 ms. */
#define PONG_SPINS 4000

void bench_round_trip(int fd, const struct bench_exchange *exchange, bool polls, uint8_t *ret_reply)
{
    size_t len = 0;
    if (send(fd, exchange->request, exchange->request_len, 0) != (ssize_t)exchange->request_len)
        bench_die("a request was not taken: %s", strerror(errno));
    while (len < exchange->reply_len) {
        ssize_t got =
            recv(fd, ret_reply + len, exchange->reply_len - len, polls ? MSG_DONTWAIT : 0);
        if (got > 0)
            len += (size_t)got;
        else if (got == 0 || errno != EAGAIN)
            bench_die("no reply: %s", got ? strerror(errno) : "the peer has gone");
    }
}

double bench_burst_us(int fd, const struct bench_exchange *exchange, bool polls)
{
    uint8_t reply[BENCH_REPLY_MAX];
    for (int i = 0; i < WARM_UP; i++)
        bench_round_trip(fd, exchange, polls, reply);
    uint64_t start_ns = clock_now_ns();
    for (int i = 0; i < BURST; i++)
        bench_round_trip(fd, exchange, polls, reply);
    return (double)(clock_now_ns() - start_ns) / BURST / 1000;
}

void bench_pong(int fd, const void *how)
{
    const struct bench_pong *pong = how;
    const unsigned spins = pong->polls ? PONG_SPINS : 0;
    const uint8_t reply[BENCH_REPLY_MAX] = {0};
    uint8_t message[BENCH_REQUEST_MAX];
    for (;;) {
        ssize_t got = -1;
        for (unsigned i = 0; got < 0 && i < spins; i++)
            got = recv(fd, message, sizeof(message), MSG_DONTWAIT);
        if (got < 0)
            got = recv(fd, message, sizeof(message), 0);
        if (got <= 0 || send(fd, reply, pong->reply_len, 0) < 0)
            return;
    }
}
