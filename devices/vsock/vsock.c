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

#include "internal.h"

#define EVENT_TRANSPORT_RESET 0u
#define STATE_VERSION         1u

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
        succession_keep(vsock, connection, fd);
    vsock_settle(vsock, connection,
                 fd >= 0 ? vsock_connection_dialled(connection, fd) : CONNECTION_RESET);
}

/* One that no connection to this port of the guest has. */
static uint32_t client_port(struct vsock *vsock, uint32_t guest_port)
{
    do {
        if (vsock->next_client_port < VSOCK_FIRST_CLIENT_PORT ||
            vsock->next_client_port == UINT32_MAX)
            vsock->next_client_port = VSOCK_FIRST_CLIENT_PORT;
        vsock->next_client_port++;
    } while (table_find(&vsock->table, guest_port,
                        (struct connection_peer){VSOCK_CID_HOST, vsock->next_client_port - 1}));
    return vsock->next_client_port - 1;
}

static int ask_guest(struct vsock *vsock, int fd, uint32_t guest_port, struct connection_peer peer,
                     enum packet_type type, bool announce)
{
    if (!vsock->runs)
        return -ENETDOWN;
    if (type == PACKET_SEQPACKET && !(ob_virtio_features(vsock->device) & VSOCK_FEATURE_SEQPACKET))
        return -EPROTONOSUPPORT;
    struct connection *connection = table_take(&vsock->table);
    if (!connection)
        return -ENOBUFS;
    vsock_begin(vsock, connection, CONNECTION_ASKING, type, guest_port, peer);
    succession_keep(vsock, connection, fd);
    vsock_connection_attach(connection, fd, announce);
    vsock_settle(vsock, connection, CONNECTION_GOES_ON);
    return 0;
}

int vsock_connect(struct vsock *vsock, int fd, uint32_t guest_port, enum packet_type type,
                  bool announce)
{
    const struct connection_peer peer = {VSOCK_CID_HOST, client_port(vsock, guest_port)};
    return ask_guest(vsock, fd, guest_port, peer, type, announce);
}

int vsock_connect_peer(struct vsock *vsock, int fd, uint32_t guest_port,
                       struct connection_peer peer, enum packet_type type)
{
    if (table_find(&vsock->table, guest_port, peer))
        return -EADDRINUSE;
    return ask_guest(vsock, fd, guest_port, peer, type, true);
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
    bool works = succession_work(state);
    return vsock_transmit(state) || works;
}

static void started(void *state)
{
    struct vsock *vsock = state;
    vsock->runs = true;
}

/* Over vhost-user, a guest's reset looks like a pause of its VM: the queues stop. */
static void queue_started(void *state, unsigned queue)
{
    if (queue == VSOCK_RX)
        vsock_ask_all(state);
}

static void on_reset(void *state)
{
    struct vsock *vsock = state;
    vsock->runs = vsock->has_buffers = vsock->reset_event = false;
    vsock_end_all(vsock);
}

/* The next VMM may continue a guest that believes in its connections. */
static void disconnected(void *state)
{
    struct vsock *vsock = state;
    vsock_end_all(vsock);
    vsock->has_buffers = false;
    vsock->reset_event = vsock->runs;
    succession_work(vsock); /* sockets are closed now, not when the next VMM comes */
}

static void config(void *state, uint8_t *ret_config)
{
    const struct vsock *vsock = state;
    uint64_t cid = htole64(vsock->options.guest_cid);
    memcpy(ret_config, &cid, sizeof(cid));
}

/* Connections are not saved: their sockets do not exist on the host that a guest comes to. */
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
                                             .queue_started = queue_started,
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
        err = ob_timer_new(vsock->device, vsock_on_tick, vsock, &vsock->timer, fault);
        if (err == 0)
            err = succession_init(vsock, options->lasting);
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
    succession_done(vsock);
    table_free(&vsock->table);
    free(vsock);
}
