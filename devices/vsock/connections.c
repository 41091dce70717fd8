// SPDX-License-Identifier: BSD-3-Clause
/* The life of the connections: their sockets are watched, verdicts are carried out, time limits end. */
#include <errno.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/watch.h>

#include "internal.h"

#define NS_PER_S UINT64_C(1000000000)
#define TICK_NS  NS_PER_S
/* Linux gives connect(2) 2 s by default; a program may ask for more. */
#define ANSWER_NS (10 * NS_PER_S)
#define DRAIN_NS  (60 * NS_PER_S)

static void on_socket(void *argument, unsigned events);

/* The watched events follow from the state. */
static void watch(struct vsock *vsock, struct connection *connection)
{
    uint8_t events = 0;
    if (vsock_connection_wants_read(connection))
        events |= OB_WATCH_READABLE;
    if (connection->blocked)
        events |= OB_WATCH_WRITABLE;
    if (events == connection->watched || connection->fd < 0)
        return;
    if (events == 0)
        ob_device_unwatch(vsock->device, connection->fd);
    else if (ob_device_watch(vsock->device, connection->fd, events, on_socket, connection) < 0)
        return; /* seen again at the next change */
    connection->watched = events;
}

static void unwatch(struct vsock *vsock, struct connection *connection)
{
    if (connection->watched)
        ob_device_unwatch(vsock->device, connection->fd);
    connection->watched = 0;
}

static void on_socket(void *argument, unsigned events)
{
    struct connection *connection = argument;
    enum connection_verdict verdict = CONNECTION_GOES_ON;
    if (events & OB_WATCH_READABLE)
        connection->readable = true;
    if (connection->kept.stream) { /* succession_work() follows */
        connection->blocked &= !(events & OB_WATCH_WRITABLE);
        succession_mark(connection->owner, connection, SUCCESSION_WORK);
        vsock_settle(connection->owner, connection, CONNECTION_GOES_ON);
        return;
    }
    if (connection->state == CONNECTION_GREETING)
        verdict = vsock_connection_hear(connection);
    if (connection->blocked && (events & OB_WATCH_WRITABLE))
        verdict = vsock_connection_flush(connection);
    vsock_settle(connection->owner, connection, verdict);
}

static bool needs_ticks(const struct connection *connection)
{
    bool half_closed =
        connection->state == CONNECTION_OPEN && connection->host_shutdown == PACKET_NO_SEND;
    return half_closed || connection->credit_asked || connection->deadline_ns != 0;
}

static void begin_ticks(struct vsock *vsock)
{
    if (vsock->ticks)
        return;
    vsock->ticks = true;
    ob_timer_set(vsock->timer, ob_timer_now_ns() + TICK_NS);
}

void vsock_begin(struct vsock *vsock, struct connection *connection, enum connection_state state,
                 uint16_t type, uint32_t guest_port, struct connection_peer peer)
{
    /* The rings of those that outlive the process have their places. */
    const uint32_t before = vsock->succession.lasting
                                ? (uint32_t)(connection - vsock->table.connections)
                                : vsock->table.count;
    uint32_t buffer = before < VSOCK_LARGE_BUFFERS ? VSOCK_LARGE_BUFFER : VSOCK_SMALL_BUFFER;
    vsock_connection_begin(connection, state, type, guest_port, peer, buffer);
    connection->owner = vsock;
    connection->deadline_ns =
        ob_timer_now_ns() + (state == CONNECTION_DRAINING ? DRAIN_NS : ANSWER_NS);
    table_add(&vsock->table, connection);
    succession_mark(vsock, connection, SUCCESSION_DIRTY);
}

static void end(struct vsock *vsock, struct connection *connection)
{
    unwatch(vsock, connection);
    if (connection->state != CONNECTION_DRAINING)
        table_forget(&vsock->table, connection);
    succession_mark(vsock, connection, SUCCESSION_DIRTY | SUCCESSION_WORK);
    if (connection->kept.stream)
        vsock_connection_retire(connection);
    else
        table_release(&vsock->table, connection);
}

/* The guest knows it no more. */
static void finish(struct vsock *vsock, struct connection *connection)
{
    if (connection->state == CONNECTION_DRAINING || !vsock_connection_must_drain(connection)) {
        end(vsock, connection);
        return;
    }
    table_forget(&vsock->table, connection);
    connection->state = CONNECTION_DRAINING;
    connection->deadline_ns = ob_timer_now_ns() + DRAIN_NS;
    succession_mark(vsock, connection, SUCCESSION_DIRTY);
    vsock_settle(vsock, connection, CONNECTION_GOES_ON);
}

void vsock_settle(struct vsock *vsock, struct connection *connection,
                  enum connection_verdict verdict)
{
    if (verdict == CONNECTION_OVER) {
        finish(vsock, connection);
        return;
    }
    if (verdict == CONNECTION_RESET) {
        unwatch(vsock, connection);
        vsock_connection_reset(connection);
        succession_mark(vsock, connection, SUCCESSION_DIRTY);
    }
    watch(vsock, connection);
    if (vsock_connection_has_packet(connection))
        table_enqueue(&vsock->table, connection);
    if (needs_ticks(connection))
        begin_ticks(vsock);
}

void vsock_ask_all(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->table.size; i++) {
        struct connection *connection = &vsock->table.connections[i];
        vsock_connection_ask(connection);
        if (connection->state == CONNECTION_OPEN)
            vsock_settle(vsock, connection, CONNECTION_GOES_ON);
    }
}

void vsock_end_all(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->table.size; i++)
        if (vsock->table.connections[i].state != CONNECTION_FREE &&
            vsock->table.connections[i].state != CONNECTION_CLOSING)
            end(vsock, &vsock->table.connections[i]);
    vsock->num_resets = 0;
}

/* A time limit is over. The guest has got no answer, or its last bytes find no reader. */
static void expire(struct vsock *vsock, struct connection *connection)
{
    connection->deadline_ns = 0;
    if (connection->state == CONNECTION_DRAINING)
        ob_log("host: port %u: got no room for the last bytes of a closed connection in 60 s; they "
               "are dropped",
               connection->peer.port);
    vsock_settle(vsock, connection,
                 connection->state == CONNECTION_DRAINING ? CONNECTION_OVER : CONNECTION_RESET);
}

void vsock_on_tick(void *argument)
{
    struct vsock *vsock = argument;
    uint64_t now_ns = ob_timer_now_ns();
    vsock->ticks = false;
    for (uint32_t i = 0; i < vsock->table.size; i++) {
        struct connection *connection = &vsock->table.connections[i];
        if (connection->state == CONNECTION_FREE || connection->state == CONNECTION_CLOSING)
            continue;
        vsock_connection_look_for_hangup(connection);
        connection->credit_asked = false; /* once a second, in case that the guest has not told */
        if (connection->deadline_ns != 0 && connection->deadline_ns <= now_ns)
            expire(vsock, connection);
        else
            vsock_settle(vsock, connection, CONNECTION_GOES_ON);
    }
}
