// SPDX-License-Identifier: BSD-3-Clause
#include "program/connection.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fault_point.h"
#include "os/clock.h"
#include "os/shared_memory.h"
#include "os/socket.h"
#include "program/life.h"

/* While it polls the socket, the connection looks at its other descriptors after this number of rounds. */
#define ROUNDS_PER_LOOK 8

/* Messages that one dispatch receives, so that a peer which never pauses leaves others a turn. */
#define TURNS_PER_DISPATCH 16

static void socket_ready(void *argument, uint32_t events)
{
    struct connection *connection = argument;
    connection->ready = true;
    connection->hung_up = events & (EPOLLHUP | EPOLLERR);
}

static bool can_receive(struct connection *connection)
{
    size_t room;
    if (connection->hold && connection->hold->wanted)
        return false;
    engine_receive_space(connection->engine, &room);
    return room > 0;
}

static void update_hold(struct connection *connection)
{
    struct hold *hold = connection->hold;
    if (hold)
        hold->is_held = hold->wanted && engine_is_settled(connection->engine);
}

/* Waits until bytes can go one way. A peer that pipelines many commands may send for long before it reads,
 * so both directions work at once as long as there is room for replies. */
static int choose_events(struct connection *connection)
{
    uint32_t events = can_receive(connection) ? EPOLLIN : 0;
    if (engine_pending(connection->engine).len > 0)
        events |= EPOLLOUT;
    if (events == connection->events)
        return 0;
    connection->events = events;
    return loop_change(connection->source, events);
}

static ssize_t send_output(struct connection *connection, const struct engine_output *output)
{
    const struct vault *vault = connection->engine->vault;
    if (vault)
        return counted_send(life_counted(vault), connection->fd, output->bytes, output->len,
                            output->fds, output->num_fds);
    return socket_send_fds(connection->fd, output->bytes, output->len, output->fds,
                           output->num_fds);
}

static ssize_t receive(struct connection *connection, uint8_t *to, size_t room,
                       struct received_fds *ret_fds)
{
    const struct vault *vault = connection->engine->vault;
    if (vault)
        return counted_receive(life_counted(vault), vault->column, connection->fd, to, room,
                               ret_fds);
    return socket_receive(connection->fd, to, room, ret_fds);
}

static bool has_unanswered(const struct connection *connection)
{
    return connection->engine->rx_len > 0 || engine_pending(connection->engine).len > 0;
}

/* A message from before this process is not answered when the VMM may have given it up: it would take
 * the answer for that of another message. */
static int check_age(struct connection *connection)
{
    const struct engine *engine = connection->engine;
    if (connection->answer_by_ns == 0 || clock_now_ns() <= connection->answer_by_ns)
        return 0;
    return ob_fault_set(&connection->engine->fault, -ETIMEDOUT,
                        "no process has served the VMM for %u ms or more, and it may have given "
                        "its message up; ends the connection instead of an answer that is too late",
                        engine->ops->answer_ms);
}

/* Nothing from before this process is unanswered. */
static void catch_up(struct connection *connection)
{
    struct vault *vault = connection->engine->vault;
    if (!vault || vault->shared->waiting_ns == 0 || has_unanswered(connection))
        return;
    connection->answer_by_ns = 0;
    vault->shared->waiting_ns = 0;
}

/* Sends replies until none is left or the peer takes no more. 0 or a negative errno. */
static int send_pending(struct connection *connection)
{
    struct engine *engine = connection->engine;
    for (;;) {
        struct engine_output output = engine_pending(engine);
        if (output.len == 0)
            return 0;
        int late = check_age(connection);
        if (late < 0)
            return late;
        fault_point("before-send");
        ssize_t sent = send_output(connection, &output);
        fault_point("sent");
        if (sent < 0)
            return sent == -EAGAIN ? 0 : (int)sent;
        if (connection->statistics)
            statistics_add(&connection->statistics->bytes_out, (uint64_t)sent);
        int err = engine_sent(engine, (size_t)sent);
        if (err < 0)
            return err;
    }
}

/* The device has met memory that is gone. */
static int refuse_cut(struct connection *connection)
{
    return ob_fault_set(&connection->engine->fault, -EPROTO,
                        "the VMM truncated its memory while it was shared");
}

/* The bytes that came, and the time from then until now. */
static void note_turn(struct statistics *statistics, size_t received, uint64_t since_ns)
{
    if (!statistics)
        return;
    statistics_add(&statistics->bytes_in, received);
    statistics_time(&statistics->messages, clock_now_ns() - since_ns);
}

/* Receives once, lets the engine work, sends once. Returns -EAGAIN when nothing was there. */
static int turn(struct connection *connection)
{
    struct engine *engine = connection->engine;
    size_t room;
    uint8_t *to = engine_receive_space(engine, &room);
    struct received_fds fds;
    ssize_t received = receive(connection, to, room, &fds);
    if (received == -EPROTO)
        return ob_fault_set(&engine->fault, -EPROTO,
                            "the peer sent more than %u descriptors at once, or more than this "
                            "process may open",
                            LIMIT_FDS_PER_RECEIVE);
    if (received == -EAGAIN)
        catch_up(connection);
    if (received < 0)
        return (int)received;
    fault_point("received");
    uint64_t since_ns = connection->statistics || engine->vault ? clock_now_ns() : 0;
    if (engine->vault)
        engine->vault->shared->received_ns = since_ns;
    int err = check_age(connection);
    if (err < 0)
        return err;
    err = engine_received(engine, (size_t)received, fds.fd, fds.count);
    if (shared_memory_was_cut())
        return refuse_cut(connection);
    if (err >= 0 && !engine_has_io_in_flight(engine))
        engine_works(engine); /* a disk that has nothing to do begins before the reply */
    int send_err = send_pending(connection);
    note_turn(connection->statistics, (size_t)received, since_ns);
    return err < 0 ? err : send_err;
}

/* Lets the engine continue after work of the device: memory given back, DMA submitted. */
static int poke(struct connection *connection)
{
    int err = has_unanswered(connection) ? check_age(connection) : 0;
    if (err < 0)
        return err;
    err = engine_poke(connection->engine);
    int send_err = send_pending(connection);
    return err < 0 ? err : send_err;
}

/* Waits for any event, and lets the engine continue after it. */
static int look_around(struct connection *connection, int timeout_ms)
{
    int err = loop_wait(connection->loop, timeout_ms);
    return err < 0 ? err : poke(connection);
}

/* Something was done: the time of polling starts again. */
static void was_active(struct connection *connection)
{
    uint64_t now_ns = clock_now_ns();
    bool in_flight = engine_has_io_in_flight(connection->engine);
    poll_tuner_active(connection->tuner, now_ns);
    connection->tuner = in_flight ? &connection->waiting : &connection->idle;
    connection->tuner->activity_ns = now_ns;
}

/* Whether to continue polling: while that pays, or the device wants it. The awaited event may need
 * this very processor: a thread of the kernel, or the process that emulates the disk. */
static bool polls(struct connection *connection)
{
    if (engine_works(connection->engine)) {
        was_active(connection);
        return true;
    }
    bool deferred = connection->tuner->limit_ns > 0 && engine_has_deferred_work(connection->engine);
    if (!deferred && !poll_tuner_polls(connection->tuner, clock_now_ns()))
        return false;
    if (connection->tuner == &connection->waiting)
        sched_yield();
    return true;
}

/* Whether to try the socket in a round of polling. On a wire whose guest notifies by eventfds, messages are
 * rare, and the loop tells of them. */
static bool tries_socket(struct connection *connection)
{
    const bool was_ready = connection->ready;
    connection->ready = false;
    return was_ready || !connection->engine->ops->only_virtio;
}

/* Polls while that pays or the device is busy. Returns as turn(), -EAGAIN once it is time to
 * block. The rounds are counted across messages: a peer that never pauses must not keep signals,
 * interrupts and I/O waiting. */
static int poll_socket(struct connection *connection)
{
    while (polls(connection) && can_receive(connection) && !*connection->stop) {
        if (++connection->rounds % ROUNDS_PER_LOOK == 0) {
            int err = look_around(connection, 0);
            if (err < 0)
                return err;
        }
        int err = tries_socket(connection) ? turn(connection) : -EAGAIN;
        if (err != -EAGAIN)
            return err;
        if (connection->statistics)
            statistics_add(&connection->statistics->polls, 1);
    }
    return -EAGAIN;
}

/* Blocks until something happens, unless the device is busy; takes a turn when it was the socket.
 */
static int block(struct connection *connection)
{
    struct engine *engine = connection->engine;
    connection->ready = connection->hung_up = false;
    int err = poke(connection);
    if (err == 0 && connection->answer_by_ns > 0 && can_receive(connection)) {
        err = turn(connection); /* messages that wait from before this process are old ones */
        if (err != -EAGAIN)
            return err;
        err = 0;
    }
    update_hold(connection);
    if (err == 0)
        err = choose_events(connection);
    if (err == 0) {
        bool is_busy = engine_works(engine) || engine_before_sleep(engine);
        err = look_around(connection, is_busy ? 0 : -1);
    }
    if (err < 0)
        return err;
    if (!connection->ready) {
        if (connection->tuner == &connection->waiting)
            poll_tuner_missed(connection->tuner);
        return -EAGAIN;
    }
    if (!(connection->events & EPOLLIN))
        return connection->hung_up ? -ENOTCONN : -EAGAIN;
    poll_tuner_woken(connection->tuner, clock_now_ns());
    if (connection->statistics)
        statistics_add(&connection->statistics->wakes, 1);
    return turn(connection);
}

static int serve(struct connection *connection)
{
    while (!*connection->stop) {
        int err = poll_socket(connection);
        if (err == -EAGAIN && !*connection->stop)
            err = block(connection);
        if (err < 0 && err != -EAGAIN)
            return err;
        if (err >= 0 && connection->tuner->limit_ns > 0)
            was_active(connection);
    }
    return 0;
}

/* Words for what ended a connection; a peer that has gone needs no words. */
static int explain(const struct connection *connection, int err, struct ob_fault *fault)
{
    if (err >= 0 || err == -ENOTCONN)
        return err;
    if (connection->engine->fault.code)
        return ob_fault_set(fault, err, "%s", connection->engine->fault.text);
    return ob_fault_set(fault, err, "the peer's socket failed: %s", strerror(-err));
}

int connection_begin(struct connection *connection, int fd, struct loop *loop,
                     struct engine *engine, struct ob_fault *fault)
{
    *connection = (struct connection){.fd = fd,
                                      .loop = loop,
                                      .engine = engine,
                                      .statistics = device_statistics(engine->device),
                                      .events = EPOLLIN};
    const unsigned answer_ms = engine->ops->answer_ms;
    if (answer_ms > 0 && engine->vault && engine->vault->shared->waiting_ns > 0)
        connection->answer_by_ns = engine->vault->shared->waiting_ns + answer_ms * 1000000ull;
    int err = loop_add(loop, fd, EPOLLIN, socket_ready, connection, &connection->source);
    return err < 0
               ? ob_fault_set(fault, err, "can't wait for the peer's socket: %s", strerror(-err))
               : 0;
}

void connection_end(struct connection *connection)
{
    loop_remove(connection->source);
    connection->source = NULL;
}

/* The socket is ready: receives the bytes that are there, within bounds. */
static int take_turns(struct connection *connection)
{
    if (!(connection->events & EPOLLIN))
        return connection->hung_up ? -ENOTCONN : 0;
    for (unsigned i = 0; i < TURNS_PER_DISPATCH && can_receive(connection); i++) {
        int err = turn(connection);
        if (err < 0)
            return err == -EAGAIN ? 0 : err;
    }
    return 0;
}

/* Has the device work, sends the replies, and says for which events the socket is watched. */
static int settle(struct connection *connection, bool *ret_more)
{
    bool more = engine_works(connection->engine);
    int err = poke(connection);
    if (err == 0)
        err = choose_events(connection);
    *ret_more = more || (err == 0 && engine_before_sleep(connection->engine));
    return err;
}

int connection_dispatch(struct connection *connection, bool *ret_more, struct ob_fault *fault)
{
    shared_memory_forget_cut();
    connection->ready = connection->hung_up = false;
    int err = look_around(connection, 0);
    if (err == 0 && connection->ready)
        err = take_turns(connection);
    if (err == 0)
        err = settle(connection, ret_more);
    if (err == 0 && shared_memory_was_cut())
        err = refuse_cut(connection);
    return explain(connection, err, fault);
}

/* The device lets go of the memory of a peer that has gone; nothing else waits for that. */
static void leave(struct connection *connection)
{
    int err = 0;
    while (err >= 0 && !engine_leave(connection->engine))
        err = loop_wait(connection->loop, engine_works(connection->engine) ? 0 : -1);
}

int connection_serve(int fd, struct loop *loop, struct engine *engine, unsigned poll_limit_us,
                     const bool *stop, struct hold *hold, struct ob_fault *fault)
{
    struct connection connection;
    int err = connection_begin(&connection, fd, loop, engine, fault);
    if (err < 0)
        return err;
    connection.stop = stop;
    connection.hold = hold;
    if (hold)
        *hold = (struct hold){.wanted = hold->wanted, .served = true};
    poll_tuner_init(&connection.idle, poll_limit_us);
    poll_tuner_init(&connection.waiting, poll_limit_us);
    connection.tuner = &connection.idle;
    shared_memory_forget_cut();
    err = explain(&connection, serve(&connection), fault);
    connection_end(&connection);
    leave(&connection);
    if (hold)
        hold->served = false;
    return err == -ENOTCONN ? 0 : err;
}
