// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device: its queues, its connections and their sockets.
 *
 * A connection that has a packet for the guest stands in the table's queue. poll(), which the
 * library calls between messages, makes packets as long as the guest has buffers. So a callback
 * only notes that there is something to do, and none of them waits.
 */
#include "vsock.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/watch.h>

#include "internal.h"

/* The first connections have large buffers, the many others small ones: 4,096 hold 124 MiB. */
#define LARGE_BUFFERS 256u
#define LARGE_BUFFER  (256u << 10)
#define SMALL_BUFFER  (16u << 10)

#define NS_PER_S UINT64_C(1000000000)
#define TICK_NS  NS_PER_S
/* Linux gives connect(2) 2 s by default; a program may ask for more. */
#define ANSWER_NS (10 * NS_PER_S)
#define DRAIN_NS  (60 * NS_PER_S)

#define EVENT_TRANSPORT_RESET 0u
#define STATE_VERSION         1u

/* --- sockets ------------------------------------------------------------------------------- */

static void on_socket(void *argument, unsigned events);

/* What is watched for belongs to the state. */
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
    if (connection->blocked && (events & OB_WATCH_WRITABLE))
        verdict = vsock_connection_flush(connection);
    vsock_settle(connection->owner, connection, verdict);
}

/* --- connections --------------------------------------------------------------------------- */

static bool needs_ticks(const struct connection *connection)
{
    bool half_closed =
        connection->state == CONNECTION_OPEN && connection->host_shutdown == PACKET_NO_SEND;
    return half_closed || connection->deadline_ns != 0;
}

static void begin_ticks(struct vsock *vsock)
{
    if (vsock->ticks)
        return;
    vsock->ticks = true;
    ob_timer_set(vsock->timer, ob_timer_now_ns() + TICK_NS);
}

void vsock_begin(struct vsock *vsock, struct connection *connection, enum connection_state state,
                 uint16_t type, uint32_t guest_port, uint32_t host_port)
{
    uint32_t buffer = vsock->table.count < LARGE_BUFFERS ? LARGE_BUFFER : SMALL_BUFFER;
    vsock_connection_begin(connection, state, type, guest_port, host_port, buffer);
    connection->owner = vsock;
    connection->deadline_ns = ob_timer_now_ns() + ANSWER_NS;
    table_add(&vsock->table, connection);
}

static void end(struct vsock *vsock, struct connection *connection)
{
    unwatch(vsock, connection);
    if (connection->state != CONNECTION_DRAINING)
        table_forget(&vsock->table, connection);
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
    }
    watch(vsock, connection);
    if (vsock_connection_has_packet(connection))
        table_enqueue(&vsock->table, connection);
    if (needs_ticks(connection))
        begin_ticks(vsock);
}

void vsock_end_all(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->table.size; i++)
        if (vsock->table.connections[i].state != CONNECTION_FREE)
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
               connection->host_port);
    vsock_settle(vsock, connection,
                 connection->state == CONNECTION_DRAINING ? CONNECTION_OVER : CONNECTION_RESET);
}

static void on_tick(void *argument)
{
    struct vsock *vsock = argument;
    uint64_t now_ns = ob_timer_now_ns();
    vsock->ticks = false;
    for (uint32_t i = 0; i < vsock->table.size; i++) {
        struct connection *connection = &vsock->table.connections[i];
        if (connection->state == CONNECTION_FREE)
            continue;
        vsock_connection_look_for_hangup(connection);
        if (connection->deadline_ns != 0 && connection->deadline_ns <= now_ns)
            expire(vsock, connection);
        else
            vsock_settle(vsock, connection, CONNECTION_GOES_ON);
    }
}

/* --- the host's side ----------------------------------------------------------------------- */

void vsock_dialled(struct vsock *vsock, uint32_t call, int fd)
{
    struct connection *connection =
        &vsock->table.connections[call % VSOCK_CONNECTIONS_MAX % vsock->table.size];
    if (connection->state != CONNECTION_DIALLING || connection->call != call) {
        if (fd >= 0)
            close(fd); /* the guest has given up */
        return;
    }
    if (fd >= 0)
        vsock_connection_dialled(connection, fd);
    vsock_settle(vsock, connection, fd >= 0 ? CONNECTION_GOES_ON : CONNECTION_RESET);
}

/* One that no connection to this port of the guest has. */
static uint32_t client_port(struct vsock *vsock, uint32_t guest_port)
{
    do {
        if (vsock->next_client_port < VSOCK_FIRST_CLIENT_PORT ||
            vsock->next_client_port == UINT32_MAX)
            vsock->next_client_port = VSOCK_FIRST_CLIENT_PORT;
        vsock->next_client_port++;
    } while (table_find(&vsock->table, guest_port, vsock->next_client_port - 1));
    return vsock->next_client_port - 1;
}

int vsock_connect(struct vsock *vsock, int fd, uint32_t guest_port, enum packet_type type,
                  bool announce)
{
    if (!vsock->runs)
        return -ENETDOWN;
    if (type == PACKET_SEQPACKET && !(ob_virtio_features(vsock->device) & VSOCK_FEATURE_SEQPACKET))
        return -EPROTONOSUPPORT;
    struct connection *connection = table_take(&vsock->table);
    if (!connection)
        return -ENOBUFS;
    vsock_begin(vsock, connection, CONNECTION_ASKING, type, guest_port,
                client_port(vsock, guest_port));
    vsock_connection_attach(connection, fd, announce);
    vsock_settle(vsock, connection, CONNECTION_GOES_ON);
    return 0;
}

/* --- the device's callbacks ---------------------------------------------------------------- */

static void send_event(struct vsock *vsock)
{
    uint8_t event[4] = {EVENT_TRANSPORT_RESET};
    struct ob_virtio_chain *chain = NULL;
    if (!vsock->reset_event || !(chain = ob_virtio_take(vsock->device, VSOCK_EVENT)))
        return;
    vsock->reset_event = false;
    ob_virtio_complete(chain, ob_virtio_write(chain, 0, event, sizeof(event)));
}

/* Packets of the guest are taken whether or not it takes any (section 5.10.6.1.1). */
static bool receive_batch(struct vsock *vsock)
{
    for (unsigned i = 0; i < VSOCK_BATCH; i++) {
        struct ob_virtio_chain *chain = ob_virtio_take(vsock->device, VSOCK_TX);
        if (!chain)
            return false;
        vsock_receive(vsock, chain);
        ob_virtio_complete(chain, 0);
    }
    return true;
}

static bool notified(void *state, unsigned queue)
{
    struct vsock *vsock = state;
    switch (queue) {
    case VSOCK_RX:
        vsock->has_buffers = true;
        return false; /* poll() follows */
    case VSOCK_TX:
        return receive_batch(vsock);
    default:
        send_event(vsock);
        return false;
    }
}

static bool on_poll(void *state)
{
    return vsock_transmit(state);
}

static void started(void *state)
{
    struct vsock *vsock = state;
    vsock->runs = true;
}

static void on_reset(void *state)
{
    struct vsock *vsock = state;
    vsock->runs = vsock->has_buffers = vsock->reset_event = false;
    vsock_end_all(vsock);
}

/* The next VMM may go on with a guest that believes in its connections. */
static void disconnected(void *state)
{
    struct vsock *vsock = state;
    vsock_end_all(vsock);
    vsock->has_buffers = false;
    vsock->reset_event = vsock->runs;
}

static void config(void *state, uint8_t *ret_config)
{
    const struct vsock *vsock = state;
    uint64_t cid = htole64(vsock->options.guest_cid);
    memcpy(ret_config, &cid, sizeof(cid));
}

/* Connections are not saved: the host that a guest comes to has none of their sockets. */
static int save(void *state, uint8_t *ret_buf, size_t size)
{
    config(state, ret_buf);
    return sizeof(uint64_t);
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct vsock *vsock = state;
    if (len != sizeof(uint64_t))
        return ob_fault_set(fault, -EINVAL, "the saved state: got %zu bytes, expected %zu", len,
                            sizeof(uint64_t));
    vsock->reset_event = true;
    return 0;
}

int vsock_new(const struct vsock_options *options, struct vsock **ret_vsock,
              struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_virtio_queue queues[VSOCK_QUEUES] = {
        [VSOCK_RX] = {.size = 256}, [VSOCK_TX] = {.size = 256}, [VSOCK_EVENT] = {.size = 16}};
    const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                        .name = "vsock",
                                        .type = 19,
                                        .features = VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET,
                                        .queues = queues,
                                        .num_queues = VSOCK_QUEUES,
                                        .config_len = sizeof(uint64_t),
                                        .migratable = true,
                                        .state_len = sizeof(uint64_t),
                                        .state_version = STATE_VERSION};
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .poll = on_poll,
                                             .started = started,
                                             .reset = on_reset,
                                             .disconnected = disconnected,
                                             .config = config,
                                             .save = save,
                                             .load = load};
    struct vsock *vsock = calloc(1, sizeof(*vsock));
    if (!vsock)
        return ob_fault_set(fault, -ENOMEM, "no memory for the device");
    vsock->options = *options;
    int err = table_new(options->connections, &vsock->table);
    if (err == 0)
        err = ob_virtio_new(&desc, &ops, vsock, ret_device, fault);
    if (err == 0) {
        vsock->device = *ret_device;
        err = ob_timer_new(vsock->device, on_tick, vsock, &vsock->timer, fault);
        if (err < 0)
            ob_device_free(vsock->device);
    }
    if (err < 0) {
        table_free(&vsock->table);
        free(vsock);
        return err;
    }
    *ret_vsock = vsock;
    return 0;
}

void vsock_free(struct vsock *vsock)
{
    if (!vsock)
        return;
    ob_timer_free(vsock->timer);
    table_free(&vsock->table);
    free(vsock);
}
