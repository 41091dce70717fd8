// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "endpoint/hostname.h"
#include "endpoint/outside.h"
#include "endpoint/resolve.h"
#include "os/clock.h"
#include "os/socket.h"

#define TIMEOUT_NS 15000000000u /* for resolving and all attempts together */
#define STAGGER_NS 250000000u   /* RFC 8305, section 5: Connection Attempt Delay */

/* A socket that is being connected to a candidate. */
struct attempt {
    struct dial *dial;
    int fd; /* -1: failed, or not begun */
    struct loop_source *source;
};

struct dial {
    struct dialer *dialer;
    struct list link; /* dialer.dials, the oldest first */
    struct address address;
    const struct rules *rules;
    dial_fn done;
    void *argument;
    struct timer timeout;
    struct timer next_due; /* of the next attempt; or at once, to tell of a failure from the loop */
    struct resolve *resolve;
    struct outside_call call;             /* the request to the process outside */
    char canonical[ADDRESS_NAME_MAX + 1]; /* the name behind an alias; "": not told */
    struct sockaddr_storage candidates[RESOLVE_MAX];
    socklen_t candidate_len;
    struct attempt attempts[RESOLVE_MAX]; /* a candidate each */
    unsigned count, next;                 /* candidates; the next one to try */
    unsigned pending;                     /* attempts under way */
    int error;                            /* of the last attempt that failed */
};

static void end_attempt(struct attempt *attempt)
{
    if (attempt->fd < 0)
        return;
    loop_remove(take_ptr(&attempt->source));
    socket_close_abruptly(take_fd(&attempt->fd)); /* it may be connected already */
    attempt->dial->pending--;
}

static void stop_looking_up(struct dial *dial)
{
    if (!dial->resolve)
        return;
    resolve_cancel(take_ptr(&dial->resolve));
    dial->dialer->lookups--;
}

void dial_cancel(struct dial *dial)
{
    if (!dial)
        return;
    for (unsigned i = 0; i < dial->next; i++)
        end_attempt(&dial->attempts[i]);
    stop_looking_up(dial);
    outside_cancel(dial->dialer->outside, &dial->call);
    timer_cancel(&dial->timeout);
    timer_cancel(&dial->next_due);
    list_remove(&dial->link);
    dial->dialer->count--;
    free(dial);
}

static void finish(struct dial *dial, int result)
{
    dial_fn done = dial->done;
    void *argument = dial->argument;
    dial_cancel(dial);
    done(argument, result);
}

static void on_timeout(void *argument)
{
    finish(argument, -ETIMEDOUT);
}

static void set_due(struct dial *dial, uint64_t delay_ns)
{
    timer_set(dial->dialer->timers, &dial->next_due, clock_now_ns() + delay_ns);
}

static void try_next(struct dial *dial);

static void on_connected(void *argument, uint32_t events)
{
    struct attempt *attempt = argument;
    struct dial *dial = attempt->dial;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0) {
        loop_remove(take_ptr(&attempt->source));
        dial->pending--;
        finish(dial, take_fd(&attempt->fd));
        return;
    }
    dial->error = -error;
    end_attempt(attempt);
    try_next(dial);
}

/* Starts connecting to one candidate. 0 or a negative errno. */
static int begin_attempt(struct dial *dial, struct attempt *attempt,
                         const struct sockaddr_storage *to)
{
    AUTO_FD fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (dial->address.kind == ADDRESS_TCP)
        socket_set_no_delay(fd);
    socket_refuse_fds(fd);
    if (connect(fd, (const struct sockaddr *)to, dial->candidate_len) < 0 && errno != EINPROGRESS)
        return -errno;
    int err = loop_add(dial->dialer->loop, fd, EPOLLOUT, on_connected, attempt, &attempt->source);
    if (err < 0)
        return err;
    attempt->fd = take_fd(&fd);
    dial->pending++;
    return 0;
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
    return !is_unspecified(&address) &&
           rules_allow(dial->rules, dial->address.name, dial->canonical, &address);
}

/* Continues with the next candidate that can be tried. Those before it stay under way: RFC 8305 has
 * them race, so that one which swallows packets does not make the name unreachable. */
static void try_next(struct dial *dial)
{
    while (dial->next < dial->count) {
        struct attempt *attempt = &dial->attempts[dial->next];
        const struct sockaddr_storage *to = &dial->candidates[dial->next++];
        int err = is_allowed(dial, to) ? begin_attempt(dial, attempt, to) : -EACCES;
        if (err == 0) {
            set_due(dial, STAGGER_NS);
            return;
        }
        dial->error = err;
    }
    if (dial->pending == 0)
        set_due(dial, 0); /* says so from the loop */
}

static void on_due(void *argument)
{
    struct dial *dial = argument;
    if (dial->next >= dial->count && dial->pending == 0)
        finish(dial, dial->error);
    else
        try_next(dial);
}

static void add_candidate(struct dial *dial, const struct sockaddr_storage *address)
{
    struct sockaddr_storage *to = &dial->candidates[dial->count++];
    in_port_t port = htons((uint16_t)dial->address.port);
    *to = *address;
    if (to->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)to)->sin6_port = port;
    else
        ((struct sockaddr_in *)to)->sin_port = port;
    dial->candidate_len = sizeof(struct sockaddr_storage);
}

/* The next address of this family, or of the others, from *at on; NULL: none. */
static const struct sockaddr_storage *next_of(const struct resolved *resolved, bool same,
                                              unsigned *at)
{
    sa_family_t family = resolved->address[0].ss_family;
    for (; *at < resolved->count; (*at)++)
        if ((resolved->address[*at].ss_family == family) == same)
            return &resolved->address[(*at)++];
    return NULL;
}

/* RFC 8305, section 4: the families take turns, the resolver's first address goes first. */
static void interleave(struct dial *dial, const struct resolved *resolved)
{
    unsigned at[2] = {0, 0};
    bool same = true;
    while (dial->count < resolved->count) {
        const struct sockaddr_storage *address = next_of(resolved, same, &at[same]);
        if (address)
            add_candidate(dial, address);
        same = !same;
    }
}

static void on_resolved(void *argument, const struct resolved *resolved)
{
    struct dial *dial = argument;
    dial->resolve = NULL;
    dial->dialer->lookups--;
    memcpy(dial->canonical, resolved->canonical, sizeof(dial->canonical));
    interleave(dial, resolved);
    dial->error = -ENOENT;
    try_next(dial);
}

/* RFC 6761: localhost is loopback, whatever the resolver says, and also without a resolver. */
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

static bool is_localhost(const char *name)
{
    return strcmp(name, "localhost") == 0;
}

/* Nor must names that nobody answers for keep others from being looked up, or commands from being
 * started, since both take child processes. */
static void make_way_for_lookup(struct dialer *dialer)
{
    if (dialer->lookups < LIMIT_LOOKUPS)
        return;
    for (struct list *link = dialer->dials.next; link != &dialer->dials; link = link->next) {
        struct dial *dial = list_entry(link, struct dial, link);
        if (!dial->resolve)
            continue;
        stop_looking_up(dial);
        timer_set(dialer->timers, &dial->timeout, clock_now_ns()); /* says so from the loop */
        return;
    }
}

static int look_up(struct dial *dial, const char *name)
{
    struct dialer *dialer = dial->dialer;
    make_way_for_lookup(dialer);
    int err =
        resolve_start(dialer->loop, dialer->children, name, on_resolved, dial, &dial->resolve);
    if (err == 0)
        dialer->lookups++;
    return err;
}

static int begin(struct dial *dial)
{
    struct address *address = &dial->address;
    int len = address_to_kernel(address, &dial->candidates[0]);
    if (len > 0) {
        dial->count = 1;
        dial->candidate_len = (socklen_t)len;
        try_next(dial);
        return 0;
    }
    char name[ADDRESS_NAME_MAX + 1]; /* as it was given: a dot at the end means something */
    memcpy(name, address->name, sizeof(name));
    if (hostname_canonical(name, address->name) < 0)
        return -ENOENT;
    if (is_localhost(address->name)) {
        add_loopback(dial);
        try_next(dial);
        return 0;
    }
    if (dial->rules && !rules_allow_name(dial->rules, address->name, (uint16_t)address->port))
        return -EACCES;
    return look_up(dial, name);
}

static void on_answer(void *argument, int fd)
{
    finish(argument, fd);
}

static int ask_outside(struct dial *dial)
{
    dial->call.answered = on_answer;
    dial->call.argument = dial;
    return outside_dial(dial->dialer->outside, &dial->address, dial->rules != NULL, &dial->call);
}

/* Many destinations that do not answer must not keep others from being tried: the dial that has
 * waited longest gives way. */
static void make_way(struct dialer *dialer)
{
    if (dialer->count < LIMIT_DIALS || list_empty(&dialer->dials))
        return;
    struct dial *oldest = list_entry(list_take(&dialer->dials), struct dial, link);
    timer_set(dialer->timers, &oldest->timeout, clock_now_ns());
}

void dialer_init(struct dialer *dialer, struct loop *loop, struct timers *timers,
                 struct children *children)
{
    *dialer = (struct dialer){.loop = loop, .timers = timers, .children = children};
    list_init(&dialer->dials);
}

int dial_start(struct dialer *dialer, const struct address *address, const struct rules *rules,
               dial_fn done, void *argument, struct dial **ret_dial)
{
    make_way(dialer);
    struct dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return -ENOMEM;
    *dial = (struct dial){
        .dialer = dialer, .address = *address, .rules = rules, .done = done, .argument = argument};
    for (unsigned i = 0; i < RESOLVE_MAX; i++)
        dial->attempts[i] = (struct attempt){.dial = dial, .fd = -1};
    list_init(&dial->link);
    list_append(&dialer->dials, &dial->link);
    dialer->count++;
    timer_init(&dial->next_due, on_due, dial);
    timer_init(&dial->timeout, on_timeout, dial);
    timer_set(dialer->timers, &dial->timeout, clock_now_ns() + TIMEOUT_NS);
    int err = dialer->outside ? ask_outside(dial) : begin(dial);
    if (err < 0) {
        dial_cancel(dial);
        return err;
    }
    *ret_dial = dial;
    return 0;
}
