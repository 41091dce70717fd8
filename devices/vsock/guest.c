// SPDX-License-Identifier: BSD-3-Clause
/* The guest's side: its packets, and packets for it. */
#include <errno.h>
#include <unistd.h>

#include <outboard/program.h>

#include "internal.h"

/* An RST for a packet that belongs to no connection. */
static void refuse(struct vsock *vsock, const struct packet *packet)
{
    if (packet->op == PACKET_RST || vsock->num_resets == VSOCK_RESETS)
        return;
    uint32_t at = (vsock->first_reset + vsock->num_resets++) % VSOCK_RESETS;
    vsock->resets[at] = (struct stray){.cid = packet->dst_cid,
                                       .guest_port = packet->src_port,
                                       .host_port = packet->dst_port,
                                       .type = packet->type};
}

static bool knows_type(const struct vsock *vsock, uint16_t type)
{
    return type == PACKET_STREAM || (type == PACKET_SEQPACKET &&
                                     (ob_virtio_features(vsock->device) & VSOCK_FEATURE_SEQPACKET));
}

int vsock_dial(struct vsock *vsock, struct connection *connection, struct connection_peer peer,
               uint16_t type)
{
    uint32_t number = (uint32_t)(connection - vsock->table.connections);
    connection->call = ++vsock->last_call * VSOCK_CONNECTIONS_MAX + number;
    return vsock->options.ops->dial(vsock->options.context, connection->call, peer,
                                    (enum packet_type)type);
}

/* The guest connects to a port of the host, or of another guest. */
static void dial(struct vsock *vsock, const struct packet *packet)
{
    struct connection *connection = table_take(&vsock->table);
    if (!connection) {
        ob_log("guest: got a request for port %u, expected at most %u connections; give a larger "
               "--connections",
               packet->dst_port, vsock->table.size);
        refuse(vsock, packet);
        return;
    }
    const struct connection_peer peer = {(uint32_t)packet->dst_cid, packet->dst_port};
    if (vsock_dial(vsock, connection, peer, packet->type) < 0) {
        refuse(vsock, packet);
        return;
    }
    const uint32_t call = connection->call;
    vsock_begin(vsock, connection, CONNECTION_DIALLING, packet->type, packet->src_port, peer);
    connection->call = call;
    connection->credit.peer_buf_alloc = packet->buf_alloc;
    connection->credit.peer_fwd_cnt = packet->fwd_cnt;
    vsock_settle(vsock, connection, CONNECTION_GOES_ON);
}

static void dispatch(struct vsock *vsock, const struct packet *packet,
                     const struct ob_virtio_chain *chain)
{
    if (packet->dst_cid < VSOCK_CID_HOST || packet->dst_cid > VSOCK_CID_GUEST_MAX ||
        !knows_type(vsock, packet->type)) {
        refuse(vsock, packet);
        return;
    }
    const struct connection_peer peer = {(uint32_t)packet->dst_cid, packet->dst_port};
    struct connection *connection = table_find(&vsock->table, packet->src_port, peer);
    if (connection) {
        succession_mark(vsock, connection, SUCCESSION_DIRTY | SUCCESSION_WORK);
        vsock_settle(vsock, connection,
                     connection->type == packet->type
                         ? vsock_connection_receive(connection, packet, chain)
                         : CONNECTION_RESET);
    } else if (packet->op == PACKET_REQUEST) {
        dial(vsock, packet);
    } else {
        refuse(vsock, packet);
    }
}

void vsock_receive(struct vsock *vsock, const struct ob_virtio_chain *chain)
{
    uint8_t header[PACKET_HEADER_LEN];
    struct packet packet;
    if (ob_virtio_read(chain, 0, header, sizeof(header)) < sizeof(header)) {
        ob_log("guest: got a packet of %zu bytes, expected at least %u; dropped",
               chain->readable_len, PACKET_HEADER_LEN);
        return;
    }
    packet_get(header, &packet);
    size_t payload = chain->readable_len - PACKET_HEADER_LEN;
    if (packet.len > payload || packet.len > PACKET_PAYLOAD_MAX) {
        ob_log("guest: got a packet whose header says %u bytes of payload, expected at most %zu; "
               "its connection is reset",
               packet.len, payload < PACKET_PAYLOAD_MAX ? payload : PACKET_PAYLOAD_MAX);
        packet.op = PACKET_INVALID; /* the stream would have a gap */
    }
    if (packet.src_cid != vsock->options.guest_cid) {
        ob_log("guest: got a packet from CID %llu, expected %llu; dropped",
               (unsigned long long)packet.src_cid, (unsigned long long)vsock->options.guest_cid);
        return;
    }
    dispatch(vsock, &packet, chain);
}

static const struct stray *next_reset(struct vsock *vsock)
{
    const struct stray *stray = &vsock->resets[vsock->first_reset];
    vsock->first_reset = (vsock->first_reset + 1) % VSOCK_RESETS;
    vsock->num_resets--;
    return stray;
}

static size_t put_reset(struct vsock *vsock, struct ob_virtio_chain *chain)
{
    const struct stray *stray = next_reset(vsock);
    const struct packet packet = {.src_cid = stray->cid,
                                  .dst_cid = vsock->options.guest_cid,
                                  .src_port = stray->host_port,
                                  .dst_port = stray->guest_port,
                                  .type = stray->type,
                                  .op = PACKET_RST};
    uint8_t header[PACKET_HEADER_LEN];
    packet_put(&packet, header);
    return ob_virtio_write(chain, 0, header, sizeof(header));
}

/* The next packet of whose turn it is. Returns its length, 0: nobody has one. */
static size_t put_next(struct vsock *vsock, struct ob_virtio_chain *chain)
{
    size_t written = 0;
    /* Each has one turn at most: one without a packet must not bring the loop round for ever. */
    for (uint32_t turns = vsock->table.queued; turns > 0 && written == 0; turns--) {
        struct connection *connection = table_dequeue(&vsock->table);
        if (connection->state == CONNECTION_FREE || !vsock_connection_has_packet(connection))
            continue;
        succession_mark(vsock, connection, SUCCESSION_DIRTY);
        enum connection_verdict verdict =
            vsock_connection_fill(connection, vsock->options.guest_cid, chain, &written);
        vsock_settle(vsock, connection, verdict);
    }
    return written;
}

bool vsock_transmit(struct vsock *vsock)
{
    unsigned done = 0;
    while (done < VSOCK_BATCH && vsock->has_buffers && vsock_has_packets(vsock)) {
        struct ob_virtio_chain *chain = ob_virtio_take(vsock->device, VSOCK_RX);
        if (!chain) {
            vsock->has_buffers = false;
            break;
        }
        if (chain->writable_len <= PACKET_HEADER_LEN) {
            ob_virtio_fail(vsock->device,
                           "got a receive buffer of %zu bytes, expected more than the %u of a "
                           "header",
                           chain->writable_len, PACKET_HEADER_LEN);
            ob_virtio_return(chain);
            vsock->has_buffers = false;
            break;
        }
        size_t written = vsock->num_resets > 0 ? put_reset(vsock, chain) : put_next(vsock, chain);
        if (written == 0) {
            ob_virtio_return(chain);
            break;
        }
        ob_virtio_complete(chain, written);
        done++;
    }
    return done > 0;
}
