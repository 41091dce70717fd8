// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client's bytes are looked at with MSG_PEEK and only SOCKS's part is taken, so that
 * bytes sent ahead reach the stream.
 */
#include "proxy/socks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/relay.h"
#include "wire/socks5.h"

/* Both messages are at most this long. */
#define MESSAGE_MAX 512

/* For the client to say where it wants to go. */
#define TIMEOUT_NS 30000000000u

struct socks {
    struct proxy *proxy;
    struct list link; /* proxy.socks */
    int fd;
    struct loop_source *source;
    struct timer timer;
    bool greeted;
};

static int release(struct socks *socks)
{
    int fd = socks->fd;
    socks->proxy->socks.count--;
    list_remove(&socks->link);
    timer_cancel(&socks->timer);
    loop_remove(socks->source);
    free(socks);
    return fd;
}

static void hang_up(struct socks *socks)
{
    socket_close(release(socks));
}

static void on_timeout(void *argument)
{
    hang_up(argument);
}

/* The socket is fresh, so that these few bytes always fit. */
static void say(int fd, const uint8_t *bytes, size_t len)
{
    ssize_t put = send(fd, bytes, len, MSG_NOSIGNAL);
    (void)put; /* a client that is gone is noticed when it is read */
}

static void reply(int fd, enum socks5_reply code)
{
    uint8_t bytes[SOCKS5_REPLY_LEN];
    socks5_put_reply(code, bytes);
    say(fd, bytes, sizeof(bytes));
}

static void on_answer(int fd, uint32_t reason)
{
    switch (reason) {
    case OB_REASON_NONE:
        reply(fd, SOCKS5_SUCCEEDED);
        break;
    case OB_REASON_FORBIDDEN:
    case OB_REASON_NO_SERVICE:
        reply(fd, SOCKS5_NOT_ALLOWED);
        break;
    case REASON_REFUSED:
        reply(fd, SOCKS5_REFUSED);
        break;
    case OB_REASON_UNREACHABLE:
    case OB_REASON_TIMEOUT:
    case REASON_NAME_UNKNOWN:
        reply(fd, SOCKS5_HOST_UNREACHABLE);
        break;
    default:
        reply(fd, SOCKS5_FAILURE);
        break;
    }
}

/* Takes the bytes off the socket that were only looked at. */
static void consume(int fd, ssize_t len)
{
    uint8_t bytes[MESSAGE_MAX];
    ssize_t got = socket_read(fd, bytes, (size_t)len);
    (void)got; /* it is there */
}

static ssize_t take_greeting(struct socks *socks, const uint8_t *bytes, size_t len)
{
    uint8_t answer[SOCKS5_METHOD_LEN];
    enum socks5_method method;
    ssize_t used = socks5_get_greeting(bytes, len, &method);
    if (used < 0)
        return used;
    consume(socks->fd, used);
    socks5_put_method(method, answer);
    say(socks->fd, answer, sizeof(answer));
    socks->greeted = true;
    return method == SOCKS5_NO_AUTHENTICATION ? used : -EPROTO;
}

/* Returns a length, when socks is gone and its descriptor a relay's, or a negative errno. */
static ssize_t take_request(struct socks *socks, const uint8_t *bytes, size_t len)
{
    char service[SOCKS5_HOST_MAX + 16];
    struct socks5_request request;
    enum socks5_reply refusal;
    ssize_t used = socks5_get_request(bytes, len, &request, &refusal);
    if (used == -EPROTO)
        reply(socks->fd, refusal);
    if (used < 0)
        return used;
    struct address to = {.kind = ADDRESS_TCP, .port = request.port};
    if (snprintf(to.name, sizeof(to.name), "%s", request.host) >= (int)sizeof(to.name)) {
        reply(socks->fd, SOCKS5_ADDRESS_UNKNOWN);
        return -EPROTO;
    }
    consume(socks->fd, used);
    address_format(&to, service);
    struct proxy *proxy = socks->proxy;
    relay_open(proxy, release(socks), service, NULL, on_answer);
    return used;
}

/* Returns how many of the client's bytes were used; after a request, socks is gone. */
static ssize_t take_message(struct socks *socks)
{
    uint8_t bytes[MESSAGE_MAX];
    ssize_t got = recv(socks->fd, bytes, sizeof(bytes), MSG_PEEK);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? -EAGAIN : -ECONNRESET;
    return socks->greeted ? take_request(socks, bytes, (size_t)got)
                          : take_greeting(socks, bytes, (size_t)got);
}

/* Edge-triggered: bytes that are looked at and not taken are no reason to be called again. */
static void on_readable(void *argument, uint32_t events)
{
    struct socks *socks = argument;
    bool over;
    ssize_t used;
    do {
        over = socks->greeted;
        used = take_message(socks);
    } while (used > 0 && !over);
    if (used < 0 && (used != -EAGAIN || (events & (EPOLLRDHUP | EPOLLHUP))))
        hang_up(socks);
}

void socks_serve(struct proxy *proxy, int fd)
{
    struct socks *socks =
        proxy->socks.count < LIMIT_SOCKS_CLIENTS ? calloc(1, sizeof(*socks)) : NULL;
    if (!socks) {
        socket_close(fd);
        return;
    }
    *socks = (struct socks){.proxy = proxy, .fd = fd};
    timer_init(&socks->timer, on_timeout, socks);
    timer_set(&proxy->timers, &socks->timer, clock_now_ns() + TIMEOUT_NS);
    list_init(&socks->link);
    list_append(&proxy->socks.list, &socks->link);
    proxy->socks.count++;
    if (loop_add(proxy->loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_readable, socks,
                 &socks->source) < 0)
        hang_up(socks);
}

void socks_done(struct proxy *proxy)
{
    struct list *next;
    for (struct list *link = proxy->socks.list.next; link != &proxy->socks.list; link = next) {
        next = link->next;
        hang_up(list_entry(link, struct socks, link));
    }
}
