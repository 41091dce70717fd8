// SPDX-License-Identifier: BSD-3-Clause
#include "program/candidates.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/socket.h"
#include "os/ticker.h"
#include "server/greeting.h"

#define TURNS_OF_SILENCE (LIMIT_CANDIDATE_SILENCE_MS / LIMIT_CANDIDATE_TURN_MS)

struct candidate {
    struct candidates *candidates;
    struct loop_source *source;
    int fd; /* -1: the place is free */
    unsigned long number;
    unsigned turns; /* of silence, while the device is busy */
    bool spoken;    /* it can be the next peer */
};

struct candidates {
    struct loop *loop;
    int listen_fd;
    struct loop_source *listener;
    int ticker_fd;
    struct loop_source *ticker;
    bool ticks;
    unsigned credit; /* how many more may be accepted in this turn, while the device is busy */
    unsigned long count;
    bool busy;
    int peer_fd;          /* while it is busy */
    struct chosen chosen; /* fd -1: nobody yet */
    bool told;            /* somebody was refused on account of this peer */
    void (*refused)(void *argument, pid_t pid);
    void *argument;
    struct candidate list[LIMIT_CANDIDATES];
};

/* Takes the descriptor out of the candidate's place. */
static int take(struct candidate *candidate)
{
    loop_remove(candidate->source);
    candidate->spoken = false;
    return take_fd(&candidate->fd);
}

static void drop(struct candidate *candidate)
{
    int fd = take(candidate);
    if (fd >= 0)
        socket_close(fd);
}

/* While the device is busy, or the credit is not whole, time matters. */
static void update_ticker(struct candidates *candidates)
{
    bool ticks = candidates->credit < LIMIT_CANDIDATES_PER_TURN;
    for (unsigned i = 0; candidates->busy && i < LIMIT_CANDIDATES; i++)
        ticks |= candidates->list[i].fd >= 0;
    if (ticks != candidates->ticks)
        ticker_set(candidates->ticker_fd, ticks ? LIMIT_CANDIDATE_TURN_MS : 0);
    candidates->ticks = ticks;
}

static void become_busy(struct candidates *candidates)
{
    candidates->busy = true;
    candidates->told = false;
    for (unsigned i = 0; i < LIMIT_CANDIDATES; i++)
        candidates->list[i].turns = 0;
    update_ticker(candidates);
}

static void choose(struct candidate *candidate, struct greeting greeting)
{
    struct candidates *candidates = candidate->candidates;
    candidates->chosen =
        (struct chosen){.wire = greeting.wire, .pid = socket_peer_pid(candidate->fd)};
    candidates->peer_fd = candidates->chosen.fd = take(candidate);
    become_busy(candidates);
}

/* Whether the peer has gone, which its server may not have noticed yet: who comes after it takes
 * its turn then instead of being refused. */
static bool peer_has_gone(const struct candidates *candidates)
{
    struct pollfd peer = {.fd = candidates->peer_fd, .events = POLLRDHUP};
    return poll(&peer, 1, 0) > 0 && peer.revents != 0;
}

/* Refuses a candidate, unless it has not said enough for an answer that it understands. */
static void refuse(struct candidate *candidate, const uint8_t *bytes, struct greeting greeting)
{
    struct candidates *candidates = candidate->candidates;
    uint8_t answer[GREETING_ANSWER_LEN];
    const struct engine_ops *wire = greeting.wire;
    if (!wire)
        return;
    if (wire->answer_busy && !greeting.has_header)
        return;
    if (greeting.has_header && greeting_answer_busy(wire, bytes, answer))
        socket_send(candidate->fd, answer, sizeof(answer), -1);
    if (!candidates->told)
        candidates->refused(candidates->argument, socket_peer_pid(candidate->fd));
    candidates->told = true;
    drop(candidate);
}

/* Looks at a candidate's bytes; they stay in the socket. */
static void look(struct candidate *candidate, bool is_last)
{
    uint8_t bytes[GREETING_LEN];
    ssize_t there = socket_peek(candidate->fd, bytes, sizeof(bytes));
    if (there < 0 && (there != -EAGAIN || is_last)) {
        drop(candidate);
        return;
    }
    struct greeting greeting = greeting_judge(bytes, there < 0 ? 0 : (size_t)there);
    candidate->spoken = greeting.is_enough;
    if (!candidate->candidates->busy && greeting.is_enough)
        choose(candidate, greeting);
    else if (candidate->candidates->busy && !peer_has_gone(candidate->candidates))
        refuse(candidate, bytes, greeting);
    if (is_last && candidate->fd >= 0) /* it has said all that it will */
        drop(candidate);
}

static void on_said(void *argument, uint32_t events)
{
    look(argument, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

/* A free place, for which the oldest candidate has to go if need be. */
static struct candidate *make_place(struct candidates *candidates)
{
    struct candidate *oldest = &candidates->list[0];
    for (unsigned i = 0; i < LIMIT_CANDIDATES; i++) {
        struct candidate *candidate = &candidates->list[i];
        if (candidate->fd < 0)
            return candidate;
        if (candidate->number < oldest->number)
            oldest = candidate;
    }
    drop(oldest);
    return oldest;
}

static void add(struct candidates *candidates, int fd)
{
    struct candidate *candidate = make_place(candidates);
    *candidate =
        (struct candidate){.candidates = candidates, .fd = fd, .number = candidates->count++};
    /* By edge: a level would stay up while a candidate has said less than it takes. */
    int err = loop_add(candidates->loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_said, candidate,
                       &candidate->source);
    if (err < 0) {
        candidate->source = NULL;
        drop(candidate);
    }
}

static bool is_passing(int err)
{
    return err == -EAGAIN || err == -ECONNABORTED || err == -EINTR;
}

/* Accepts one. Without credit, or without descriptors for a connection, the listener rests. */
static void on_connect(void *argument, uint32_t events)
{
    struct candidates *candidates = argument;
    int fd = socket_accept(candidates->listen_fd);
    if (fd >= 0)
        add(candidates, fd);
    candidates->credit -= candidates->busy && candidates->credit > 0;
    if (fd < 0 && !is_passing(fd))
        candidates->credit = 0;
    if (candidates->credit == 0)
        loop_change(candidates->listener, 0);
    update_ticker(candidates);
}

static void renew_credit(struct candidates *candidates)
{
    if (candidates->credit == 0)
        loop_change(candidates->listener, EPOLLIN);
    candidates->credit = LIMIT_CANDIDATES_PER_TURN;
}

static void on_turn(void *argument, uint32_t events)
{
    struct candidates *candidates = argument;
    ticker_drain(candidates->ticker_fd);
    renew_credit(candidates);
    for (unsigned i = 0; candidates->busy && i < LIMIT_CANDIDATES; i++) {
        struct candidate *candidate = &candidates->list[i];
        if (candidate->fd >= 0 && !candidate->spoken && ++candidate->turns > TURNS_OF_SILENCE)
            drop(candidate);
    }
    update_ticker(candidates);
}

int candidates_new(struct loop *loop, int listen_fd, void (*refused)(void *argument, pid_t pid),
                   void *argument, struct candidates **ret_candidates)
{
    struct candidates *candidates = malloc(sizeof(*candidates));
    if (!candidates)
        return -ENOMEM;
    *candidates = (struct candidates){.loop = loop,
                                      .listen_fd = listen_fd,
                                      .credit = LIMIT_CANDIDATES_PER_TURN,
                                      .chosen = {.fd = -1},
                                      .refused = refused,
                                      .argument = argument};
    for (unsigned i = 0; i < LIMIT_CANDIDATES; i++)
        candidates->list[i].fd = -1;
    int err = candidates->ticker_fd = ticker_new(0);
    if (err >= 0)
        err = loop_add(loop, candidates->ticker_fd, EPOLLIN, on_turn, candidates,
                       &candidates->ticker);
    if (err == 0)
        err = loop_add(loop, listen_fd, EPOLLIN, on_connect, candidates, &candidates->listener);
    if (err < 0) {
        candidates_free(candidates);
        return err;
    }
    *ret_candidates = candidates;
    return 0;
}

void candidates_free(struct candidates *candidates)
{
    if (!candidates)
        return;
    for (unsigned i = 0; i < LIMIT_CANDIDATES; i++)
        if (candidates->list[i].fd >= 0)
            drop(&candidates->list[i]);
    if (candidates->chosen.fd >= 0)
        socket_close(candidates->chosen.fd);
    loop_remove(candidates->listener);
    loop_remove(candidates->ticker);
    auto_close(&candidates->ticker_fd);
    free(candidates);
}

int candidates_wait(struct candidates *candidates, const bool *stop, struct chosen *ret_chosen)
{
    int err = 0;
    candidates->busy = false;
    renew_credit(candidates); /* peers that come and go quickly are not held up */
    for (unsigned i = 0; i < LIMIT_CANDIDATES; i++)
        if (candidates->list[i].spoken && !candidates->busy)
            look(&candidates->list[i], false);
    update_ticker(candidates);
    while (!*stop && err >= 0 && candidates->chosen.fd < 0)
        err = loop_wait(candidates->loop, -1);
    if (err < 0)
        return err;
    if (candidates->chosen.fd < 0)
        return -ECANCELED;
    *ret_chosen = candidates->chosen;
    candidates->chosen.fd = -1;
    return 0;
}
