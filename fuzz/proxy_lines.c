// SPDX-License-Identifier: BSD-3-Clause
/*
 * What clients say to the proxy, in pieces: SOCKS, and the lines of the control socket.
 *
 * An input is a head of HEAD bytes and then the client's bytes. These are given to the proxy twice
 * over a socket pair, in one piece and cut as the head says; socks.c and control.c serve them, and
 * the rest of the proxy is replaced.
 *
 * Invariants: both times the client is told the same, the same stream is opened, the same bytes are
 * left for it, and the connection ends alike; no descriptor and no client is left over.
 */
#include "proxy/control.h"
#include "proxy/proxy.h"
#include "proxy/relay.h"
#include "proxy/socks.h"
#include "proxy/status.h"

#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD     8
#define SAID_MAX 2048         /* bytes of a client */
#define TOLD_MAX (1u << 17)   /* one status, which is the last thing said, and short answers */
#define PIECES   128          /* the kernel takes no more than some 270 that are not read yet */
#define STATUS   "state up\n" /* of the status's text, in lines */

/* How it went. */
struct outcome {
    uint8_t *told; /* by the proxy */
    size_t told_len;
    char opened[400]; /* the service and the metadata; empty: nothing was opened */
    uint8_t left[SAID_MAX];
    size_t left_len;
    bool ended;
};

/* What the replaced functions look at: there is one run at a time. */
static struct {
    const uint8_t *head;
    struct outcome *outcome;
    unsigned pings;
    bool up;
} world;

void __wrap_closer_close(int fd);
void __wrap_closer_close_socket(int fd);
void __wrap_relay_open(struct proxy *proxy, int fd, const char *service, const char *metadata,
                       relay_answer_fn answer);
char *__wrap_status_text(const struct proxy *proxy, bool json, size_t *ret_len);
int __wrap_ob_session_ping(struct ob_session *session, uint64_t now_ns);
uint64_t __wrap_ob_session_tag(const struct ob_session *session);

void __wrap_closer_close(int fd)
{
    close(fd);
}

void __wrap_closer_close_socket(int fd)
{
    close(fd);
}

/* The head says what the peer answers. The client's other bytes are taken at the end of the run. */
static int opened_fd = -1;

void __wrap_relay_open(struct proxy *proxy, int fd, const char *service, const char *metadata,
                       relay_answer_fn answer)
{
    struct outcome *outcome = world.outcome;
    CHECK(opened_fd < 0 && !outcome->opened[0]);
    snprintf(outcome->opened, sizeof(outcome->opened), "%.300s %s", service,
             metadata ? metadata : "-");
    answer(fd, world.head[0] & 1 ? OB_REASON_NONE : world.head[1] % 16u);
    opened_fd = fd;
}

char *__wrap_status_text(const struct proxy *proxy, bool json, size_t *ret_len)
{
    size_t lines = json ? 1 : world.head[2] * 32u, len = strlen(STATUS);
    char *text = malloc(lines * len + 1);
    for (size_t i = 0; i < lines; i++)
        memcpy(text + i * len, STATUS, len);
    *ret_len = lines * len;
    return text;
}

/* Refused now and then, as without a session. */
int __wrap_ob_session_ping(struct ob_session *session, uint64_t now_ns)
{
    return world.head[3] >> world.pings++ % 8 & 1 ? -ENOTCONN : 0;
}

uint64_t __wrap_ob_session_tag(const struct ob_session *session)
{
    return world.up || world.head[0] & 2 ? 0x1234 : 0;
}

/* Takes what the proxy has said. Returns whether there was any, or an end. */
static bool listen_to(int client, struct outcome *outcome)
{
    bool any = false;
    while (!outcome->ended) {
        CHECK(outcome->told_len < TOLD_MAX);
        ssize_t got = recv(client, outcome->told + outcome->told_len, TOLD_MAX - outcome->told_len,
                           MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            break;
        any = true;
        if (got <= 0)
            outcome->ended = true;
        else
            outcome->told_len += (size_t)got;
    }
    return any;
}

/* Lets the proxy and its client do all that they can. */
static void settle(struct proxy *proxy, int client, struct outcome *outcome)
{
    bool any;
    do {
        any = loop_wait(proxy->loop, 0) > 0;
        any |= listen_to(client, outcome);
    } while (any);
}

/* A session stands, and answers: until nobody is waiting for that. */
static void answer_all(struct proxy *proxy, int client, struct outcome *outcome)
{
    size_t before;
    do {
        before = outcome->told_len;
        settle(proxy, client, outcome);
        world.up = true;
        control_on_up(proxy);
        world.up = false;
        settle(proxy, client, outcome);
        control_on_pong(proxy, 77);
        settle(proxy, client, outcome);
    } while (outcome->told_len != before);
}

static size_t piece_len(const uint8_t *head, unsigned piece, bool whole, size_t left)
{
    size_t len = whole || piece == PIECES ? left : 1 + head[4 + piece % 3] % (piece & 8 ? 7u : 64u);
    return len < left ? len : left;
}

static void say_all(struct proxy *proxy, int client, const uint8_t *said, size_t len, bool whole)
{
    size_t done = 0;
    for (unsigned piece = 0; done < len; piece++) {
        size_t part = piece_len(world.head, piece, whole, len - done);
        ssize_t put = send(client, said + done, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0)
            break; /* it hung up */
        CHECK((size_t)put == part);
        done += part;
        if (world.head[7] >> piece % 8 & 1)
            settle(proxy, client, world.outcome);
    }
}

/* What the client said behind the open is the stream's. */
static void take_left(struct outcome *outcome)
{
    ssize_t got;
    if (opened_fd < 0)
        return;
    while ((got = recv(opened_fd, outcome->left + outcome->left_len, SAID_MAX - outcome->left_len,
                       MSG_DONTWAIT)) > 0)
        outcome->left_len += (size_t)got;
    close(opened_fd);
    opened_fd = -1;
}

static void run(const uint8_t *said, size_t len, bool whole, struct outcome *outcome)
{
    struct proxy proxy = {0};
    const int small = 32768; /* a burst of answers fits, a long status takes several writes */
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(loop_new(&proxy.loop) == 0);
    timers_init(&proxy.timers);
    list_init(&proxy.controls.list);
    list_init(&proxy.socks.list);
    world.outcome = outcome;
    world.pings = 0;
    if (world.head[0] & 4) {
        socks_serve(&proxy, pair[0]);
    } else {
        if (world.head[0] & 8)
            setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
        CHECK(control_adopt(&proxy, pair[0]) == 0);
    }
    say_all(&proxy, pair[1], said, len, whole);
    answer_all(&proxy, pair[1], outcome);
    if (world.head[0] & 16 && opened_fd < 0)
        shutdown(pair[1], SHUT_WR);
    answer_all(&proxy, pair[1], outcome);
    take_left(outcome);
    socks_done(&proxy);
    control_done(&proxy);
    CHECK(proxy.socks.count == 0 && proxy.controls.count == 0);
    CHECK(list_empty(&proxy.socks.list) && list_empty(&proxy.controls.list));
    loop_free(proxy.loop);
    close(pair[1]);
}

/* A descriptor number that is free: the same one before and after, if none was left over. */
static int free_descriptor(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd; // cppcheck-suppress deallocret ; the number alone matters
}

static bool is_same(const struct outcome *one, const struct outcome *other)
{
    return one->told_len == other->told_len && memcmp(one->told, other->told, one->told_len) == 0 &&
           strcmp(one->opened, other->opened) == 0 && one->left_len == other->left_len &&
           memcmp(one->left, other->left, one->left_len) == 0 && one->ended == other->ended;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t told[2][TOLD_MAX];
    struct outcome whole = {.told = told[0]}, cut = {.told = told[1]};
    if (size < HEAD)
        return 0;
    size_t len = size - HEAD < SAID_MAX ? size - HEAD : SAID_MAX;
    int before = free_descriptor();
    world.head = data;
    run(data + HEAD, len, true, &whole);
    run(data + HEAD, len, false, &cut);
    CHECK(is_same(&whole, &cut));
    CHECK(free_descriptor() == before);
    return 0;
}
