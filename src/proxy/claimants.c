// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/claimants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/framing.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/tenant.h"

/* For the greetings. A line is different: who listens for a VMM may wait for its guest to boot. */
#define TIMEOUT_NS 10000000000u

#define SPANS 16

struct claimants {
    struct proxy *proxy;
    struct list list; /* the oldest first */
    unsigned count;
    claimant_fn stands;
    void *argument;
};

struct claimant {
    struct claimants *owner;
    struct list link;
    int fd;
    struct loop_source *source;
    struct timer timer; /* of its session, and its patience */
    uint64_t expires_at;
    struct tenant *tenant;
    bool stands;
    bool told; /* why it will have no session */
    size_t rest_len;
    uint8_t rest[CLAIMANT_REST_MAX];
};

static void on_stood(void *argument)
{
    struct claimant *claimant = argument;
    claimant->stands = true;
}

static void on_failed(void *argument, uint32_t reason)
{
    struct claimant *claimant = argument;
    struct proxy *proxy = claimant->owner->proxy;
    if (ob_session_tag(proxy->session) == 0) {
        proxy->history.ended_reason = reason;
        if (reason_is_lasting(reason))
            trouble_set(&proxy->trouble, "%s",
                        reason_session_text(reason, proxy->options->key_len > 0));
    }
    proxy_log("a peer at the channel gets no session: %s",
              reason_session_text(reason, proxy->options->key_len > 0));
    claimant->told = true;
}

/* All of it but the descriptor. */
static void release(struct claimant *claimant)
{
    claimant->owner->count--;
    list_remove(&claimant->link);
    timer_cancel(&claimant->timer);
    loop_remove(claimant->source);
    free(claimant);
}

static void drop(struct claimant *claimant)
{
    tenant_free(claimant->tenant);
    socket_close(claimant->fd);
    release(claimant);
}

/* Greetings are short: bytes that do not fit wait for the next event. */
static void transmit(struct claimant *claimant)
{
    struct ob_session *session = claimant->tenant->session;
    struct iovec spans[SPANS];
    int count;
    ssize_t put = 1;
    while (put > 0 && (count = ob_session_transmit(session, spans, SPANS, clock_now_ns())) > 0) {
        put = writev(claimant->fd, spans, count);
        ob_session_transmitted(session, put);
    }
}

/* Gives the session bytes until it stands, and not one more: streams are for who is chosen. */
static int feed(struct claimant *claimant, const uint8_t *bytes, size_t len)
{
    size_t used = 0;
    int err = 0;
    while (used < len && err == 0 && !claimant->stands)
        err = ob_session_receive(claimant->tenant->session, &bytes[used++], 1, clock_now_ns());
    claimant->rest_len = len - used;
    memcpy(claimant->rest, bytes + used, len - used);
    return err;
}

/* Reads the bytes that are there. 0, or a negative errno when it is of no use any more. */
static int receive(struct claimant *claimant)
{
    while (!claimant->stands) {
        uint8_t bytes[CLAIMANT_REST_MAX];
        ssize_t got = socket_read(claimant->fd, bytes, sizeof(bytes));
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (got > 0 && !claimant->told &&
            framing_sees_stream(claimant->owner->proxy, bytes, (size_t)got)) {
            proxy_log("%s", claimant->owner->proxy->trouble.text);
            claimant->told = true;
        }
        int err = got > 0 ? feed(claimant, bytes, (size_t)got) : -ENOTCONN;
        if (err < 0)
            return err;
    }
    return 0;
}

static void set_timer(struct claimant *claimant)
{
    uint64_t at = ob_session_deadline(claimant->tenant->session);
    if (claimant->expires_at < at)
        at = claimant->expires_at;
    if (at != OB_SESSION_NEVER)
        timer_set(&claimant->owner->proxy->timers, &claimant->timer, at);
}

static void tell_fault(const struct claimant *claimant, int err)
{
    struct proxy *proxy = claimant->owner->proxy;
    const char *text = ob_session_fault(claimant->tenant->session)->text;
    if (ob_session_tag(proxy->session) == 0)
        trouble_set(&proxy->trouble, "%s%s", text, framing_hint(proxy, err));
    proxy_log("dropping a connection to the channel: %s%s", text, framing_hint(proxy, err));
}

/* Does the work that is possible now; the claimant may be gone afterwards. */
static void work(struct claimant *claimant)
{
    struct claimants *owner = claimant->owner;
    int err = receive(claimant);
    transmit(claimant);
    if (err < 0) {
        if (err != -ENOTCONN && !claimant->told)
            tell_fault(claimant, err);
        drop(claimant);
    } else if (claimant->stands) {
        timer_cancel(&claimant->timer);
        owner->stands(owner->argument, claimant);
    } else {
        set_timer(claimant);
    }
}

static void on_event(void *argument, uint32_t events)
{
    struct claimant *claimant = argument;
    if (!claimant->stands)
        work(claimant);
    else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        drop(claimant);
    else
        transmit(claimant);
}

static void on_timer(void *argument)
{
    struct claimant *claimant = argument;
    uint64_t now = clock_now_ns();
    if (now >= claimant->expires_at) {
        drop(claimant);
        return;
    }
    ob_session_tick(claimant->tenant->session, now);
    work(claimant);
}

/* 0 or a negative errno; then the descriptor is the caller's still. */
static int begin(struct claimant *claimant, int fd)
{
    struct proxy *proxy = claimant->owner->proxy;
    int err = tenant_new(proxy, proxy->tenant->ops, &claimant->tenant);
    if (err < 0)
        return err;
    claimant->tenant->stood = on_stood;
    claimant->tenant->failed = on_failed;
    claimant->tenant->argument = claimant;
    err = ob_session_transport_up(claimant->tenant->session, clock_now_ns());
    if (err == 0)
        err = loop_add(proxy->loop, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_event,
                       claimant, &claimant->source);
    if (err < 0)
        tenant_free(take_ptr(&claimant->tenant));
    return err;
}

void claimants_add(struct claimants *claimants, int fd)
{
    bool is_line = claimants->proxy->options->channel.framing == OB_CHANNEL_LINE;
    if (claimants->count >= LIMIT_CHANNEL_CLAIMANTS)
        drop(list_entry(claimants->list.next, struct claimant, link));
    struct claimant *claimant = malloc(sizeof(*claimant));
    if (!claimant) {
        socket_close(fd);
        return;
    }
    *claimant = (struct claimant){
        .owner = claimants,
        .fd = fd,
        .expires_at = is_line ? OB_SESSION_NEVER : clock_now_ns() + TIMEOUT_NS,
    };
    timer_init(&claimant->timer, on_timer, claimant);
    list_init(&claimant->link);
    list_append(&claimants->list, &claimant->link);
    claimants->count++;
    int err = begin(claimant, fd);
    if (err < 0) {
        proxy_log("can't greet a peer: %s", strerror(-err));
        drop(claimant);
        return;
    }
    set_timer(claimant); /* it is new to the loop, which tells at once that it can be written */
}

bool claimants_wait(const struct claimants *claimants)
{
    return claimants->count > 0;
}

struct claimant *claimants_standing(const struct claimants *claimants)
{
    struct claimant *found = NULL;
    const struct list *list = &claimants->list;
    for (struct list *link = list->next; link != list; link = link->next) {
        struct claimant *claimant = list_entry(link, struct claimant, link);
        if (claimant->stands)
            found = claimant;
    }
    return found;
}

void claimant_refuse(struct claimant *claimant, uint32_t reason)
{
    ob_session_end(claimant->tenant->session, reason, clock_now_ns());
    transmit(claimant);
    drop(claimant);
}

int claimant_take(struct claimant *claimant, struct tenant **ret_tenant,
                  uint8_t ret_rest[CLAIMANT_REST_MAX], size_t *ret_rest_len)
{
    int fd = claimant->fd;
    *ret_tenant = claimant->tenant;
    memcpy(ret_rest, claimant->rest, claimant->rest_len);
    *ret_rest_len = claimant->rest_len;
    release(claimant);
    return fd;
}

int claimants_new(struct proxy *proxy, claimant_fn stands, void *argument,
                  struct claimants **ret_claimants)
{
    struct claimants *claimants = malloc(sizeof(*claimants));
    if (!claimants)
        return -ENOMEM;
    *claimants = (struct claimants){.proxy = proxy, .stands = stands, .argument = argument};
    list_init(&claimants->list);
    *ret_claimants = claimants;
    return 0;
}

void claimants_free(struct claimants *claimants)
{
    if (!claimants)
        return;
    struct list *next;
    for (struct list *link = claimants->list.next; link != &claimants->list; link = next) {
        next = link->next;
        drop(list_entry(link, struct claimant, link));
    }
    free(claimants);
}
