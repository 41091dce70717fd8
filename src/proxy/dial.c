// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/resolve.h"
#include "os/socket.h"
#include "proxy/proxy.h"

#define TIMEOUT_NS 15000000000u /* for resolving and all attempts together */

struct dial {
    struct proxy *proxy;
    struct address address;
    const struct rules *rules;
    dial_fn done;
    void *argument;
    struct timer timer; /* the timeout; or at once, to tell of a failure from the loop */
    struct resolve *resolve;
    int fd; /* of the attempt at hand, -1: none */
    struct loop_source *source;
    struct sockaddr_storage candidates[RESOLVE_MAX];
    socklen_t candidate_len;
    int count, next;
    int error; /* of the last attempt */
};

static void end_attempt(struct dial *dial)
{
    loop_remove(take_ptr(&dial->source));
    auto_close(&dial->fd);
    dial->fd = -1;
}

void dial_cancel(struct dial *dial)
{
    if (!dial)
        return;
    end_attempt(dial);
    resolve_cancel(dial->resolve);
    timer_cancel(&dial->timer);
    free(dial);
}

static void finish(struct dial *dial, int result)
{
    dial_fn done = dial->done;
    void *argument = dial->argument;
    dial_cancel(dial);
    done(argument, result);
}

static void on_timer(void *argument)
{
    struct dial *dial = argument;
    finish(dial,
           dial->count > 0 && dial->next >= dial->count && dial->fd < 0 ? dial->error : -ETIMEDOUT);
}

/* Nothing is left to try; says so from the loop. */
static void fail_soon(struct dial *dial, int error)
{
    dial->error = error;
    dial->next = dial->count = 1;
    timer_set(&dial->proxy->timers, &dial->timer, clock_now_ns());
}

static void try_next(struct dial *dial);

static void on_connected(void *argument, uint32_t events)
{
    struct dial *dial = argument;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0) {
        loop_remove(take_ptr(&dial->source));
        finish(dial, take_fd(&dial->fd));
        return;
    }
    dial->error = -error;
    end_attempt(dial);
    try_next(dial);
}

/* Starts connecting to one candidate. 0 or a negative errno. */
static int attempt(struct dial *dial, const struct sockaddr_storage *to)
{
    dial->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (dial->fd < 0)
        return -errno;
    if (dial->address.kind == ADDRESS_TCP)
        socket_set_no_delay(dial->fd);
    if (connect(dial->fd, (const struct sockaddr *)to, dial->candidate_len) < 0 &&
        errno != EINPROGRESS)
        return -errno;
    return loop_add(dial->proxy->loop, dial->fd, EPOLLOUT, on_connected, dial, &dial->source);
}

/* 0.0.0.0 means this machine, by a name that no rule about 127.0.0.1 would catch. */
static bool is_unspecified(const struct address *address)
{
    return strcmp(address->name, "0.0.0.0") == 0 || strcmp(address->name, "::") == 0 ||
           strcmp(address->name, "::ffff:0.0.0.0") == 0;
}

static bool is_allowed(const struct dial *dial, const struct sockaddr_storage *to)
{
    struct address address;
    if (!dial->rules)
        return true;
    address_from_kernel(to, &address);
    return !is_unspecified(&address) && rules_allow(dial->rules, dial->address.name, &address);
}

static void try_next(struct dial *dial)
{
    while (dial->next < dial->count) {
        const struct sockaddr_storage *to = &dial->candidates[dial->next++];
        int err = is_allowed(dial, to) ? attempt(dial, to) : -EACCES;
        if (err == 0)
            return;
        dial->error = err;
        end_attempt(dial);
    }
    fail_soon(dial, dial->error);
}

static void add_candidate(struct dial *dial, struct sockaddr_storage *to)
{
    in_port_t port = htons((uint16_t)dial->address.port);
    if (to->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)to)->sin6_port = port;
    else
        ((struct sockaddr_in *)to)->sin_port = port;
    dial->candidates[dial->count++] = *to;
    dial->candidate_len = sizeof(struct sockaddr_storage);
}

static void on_resolved(void *argument, const struct sockaddr_storage *addresses, int count)
{
    struct dial *dial = argument;
    dial->resolve = NULL;
    for (int i = 0; i < count; i++) {
        struct sockaddr_storage to = addresses[i];
        add_candidate(dial, &to);
    }
    dial->error = -ENOENT;
    try_next(dial);
}

/* RFC 6761: localhost is loopback, whatever the resolver says, or where there is none. */
static void add_loopback(struct dial *dial)
{
    struct sockaddr_storage ipv4 = {0}, ipv6 = {0};
    ipv4.ss_family = AF_INET;
    ((struct sockaddr_in *)&ipv4)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ipv6.ss_family = AF_INET6;
    ((struct sockaddr_in6 *)&ipv6)->sin6_addr = in6addr_loopback;
    add_candidate(dial, &ipv4);
    add_candidate(dial, &ipv6);
}

static int begin(struct dial *dial)
{
    const struct address *address = &dial->address;
    int len = address_to_kernel(address, &dial->candidates[0]);
    if (len > 0) {
        dial->count = 1;
        dial->candidate_len = (socklen_t)len;
    } else if (strcasecmp(address->name, "localhost") == 0) {
        add_loopback(dial);
    } else {
        if (dial->rules && !rules_allow_name(dial->rules, address->name, (uint16_t)address->port))
            return -EACCES;
        return resolve_start(dial->proxy->loop, dial->proxy->children, address->name, on_resolved,
                             dial, &dial->resolve);
    }
    try_next(dial);
    return 0;
}

int dial_start(struct proxy *proxy, const struct address *address, const struct rules *rules,
               dial_fn done, void *argument, struct dial **ret_dial)
{
    struct dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return -ENOMEM;
    *dial = (struct dial){.proxy = proxy,
                          .address = *address,
                          .rules = rules,
                          .done = done,
                          .argument = argument,
                          .fd = -1};
    timer_init(&dial->timer, on_timer, dial);
    timer_set(&proxy->timers, &dial->timer, clock_now_ns() + TIMEOUT_NS);
    int err = begin(dial);
    if (err < 0) {
        dial_cancel(dial);
        return err;
    }
    *ret_dial = dial;
    return 0;
}
