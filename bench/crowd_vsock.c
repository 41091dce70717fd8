// SPDX-License-Identifier: BSD-3-Clause
/* 1,000 connections of outboard-vsock. Virtual I/O Device (VIRTIO) 1.2, section 5.10. */
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "vsock/packet.h"

#define CONNECTIONS CROWD_MAX
#define CID         5u
#define FIRST_PORT  1000u /* of the guest */
#define HOST_PORT   80u   /* of the echoes */
#define BLOCK_PORT  81u   /* of the first connection's host end */
#define RING        256u
#define IN_BUFFER   3776u /* as Linux's */
#define OUT_BUFFER  (PACKET_HEADER_LEN + 4096u)
#define GUEST_ROOM  (256u << 10)
#define OPTION_LEN  160u

struct peer {
    uint32_t sent, forwarded;           /* by the guest */
    uint32_t host_room, host_forwarded; /* as the device tells */
};

struct connections {
    struct virtio_ring rx, tx, events;
    struct peer peers[CONNECTIONS];
    unsigned num_open;
    bool holds_first; /* the guest's program of the first connection does not read */
    uint32_t held;    /* bytes that it has not read */
};

static uint32_t port_of(unsigned member)
{
    return member == 0 ? BLOCK_PORT : HOST_PORT;
}

static void path_of(const char *folder, uint32_t port, char ret_path[OPTION_LEN])
{
    snprintf(ret_path, OPTION_LEN, "%s/host_%u", folder, port);
}

static void add_options(const char *folder, char **argv, unsigned *count)
{
    static char host[2 * OPTION_LEN];
    snprintf(host, sizeof(host), "--host-socket=%s/host", folder);
    argv[(*count)++] = host;
    argv[(*count)++] = "--guest-cid=5";
    argv[(*count)++] = "--connections=1000";
}

static int open_echoes(const char *folder)
{
    const int set = epoll_create1(EPOLL_CLOEXEC);
    char path[OPTION_LEN];
    path_of(folder, HOST_PORT, path);
    crowd_watch(set, crowd_socket(path, true), true);
    return set;
}

static void accept_echoes(int set, int listener)
{
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        crowd_watch(set, fd, false);
}

static void collect(const struct crowd *crowd, struct virtio_ring *tx)
{
    unsigned buffer;
    uint32_t len;
    while (virtio_ring_take(&crowd->driver, tx, &buffer, &len))
        tx->free[tx->free_count++] = (uint16_t)buffer;
}

static void flush(struct crowd *crowd)
{
    struct connections *own = crowd->own;
    virtio_ring_kick(&crowd->driver, &own->tx);
    virtio_ring_kick(&crowd->driver, &own->rx);
}

static void send_packet(struct crowd *crowd, unsigned member, enum packet_op op, uint32_t len)
{
    struct connections *own = crowd->own;
    struct virtio_ring *tx = &own->tx;
    collect(crowd, tx);
    while (tx->free_count == 0) {
        flush(crowd);
        virtio_driver_wait(&crowd->driver);
        collect(crowd, tx);
    }
    const struct packet packet = {.src_cid = CID,
                                  .dst_cid = VSOCK_CID_HOST,
                                  .src_port = FIRST_PORT + member,
                                  .dst_port = port_of(member),
                                  .len = len,
                                  .type = PACKET_STREAM,
                                  .op = (uint16_t)op,
                                  .buf_alloc = GUEST_ROOM,
                                  .fwd_cnt = own->peers[member].forwarded};
    const unsigned buffer = tx->free[--tx->free_count];
    packet_put(&packet, virtio_ring_buffer(&crowd->driver, tx, buffer));
    virtio_ring_put(&crowd->driver, tx, buffer, PACKET_HEADER_LEN + len, false);
    own->peers[member].sent += len;
}

/* Takes a packet. Returns how many bytes of a stream it has had. */
static uint32_t take_packet(struct crowd *crowd, unsigned buffer, unsigned *ret_member)
{
    struct connections *own = crowd->own;
    struct packet packet;
    packet_get(virtio_ring_buffer(&crowd->driver, &own->rx, buffer), &packet);
    virtio_ring_put(&crowd->driver, &own->rx, buffer, IN_BUFFER, true);
    const unsigned member = packet.dst_port - FIRST_PORT;
    if (member >= CONNECTIONS || packet.op == PACKET_RST || packet.op == PACKET_SHUTDOWN)
        bench_die("connection %u: the device sent operation %u", member, packet.op);
    struct peer *peer = &own->peers[member];
    peer->host_room = packet.buf_alloc;
    peer->host_forwarded = packet.fwd_cnt;
    own->num_open += packet.op == PACKET_RESPONSE;
    *ret_member = member;
    if (packet.op == PACKET_CREDIT_REQUEST)
        send_packet(crowd, member, PACKET_CREDIT_UPDATE, 0);
    if (packet.op != PACKET_RW)
        return 0;
    if (member == 0 && own->holds_first)
        own->held += packet.len;
    else
        peer->forwarded += packet.len;
    return packet.len;
}

static bool receive_bytes(struct crowd *crowd, unsigned *ret_member, uint32_t *ret_len)
{
    struct connections *own = crowd->own;
    unsigned buffer;
    uint32_t len;
    while (virtio_ring_take(&crowd->driver, &own->rx, &buffer, &len))
        if ((*ret_len = take_packet(crowd, buffer, ret_member)) > 0)
            return true;
    return false;
}

static void open_connections(struct crowd *crowd, const char *folder, int *ret_fd)
{
    struct connections *own = crowd->own = calloc(1, sizeof(*own));
    struct virtio_driver *driver = &crowd->driver;
    char path[OPTION_LEN];
    uint32_t len;
    if (!own)
        bench_die("no memory");
    path_of(folder, BLOCK_PORT, path);
    const int listener = crowd_socket(path, true);
    virtio_driver_add(driver, &own->rx, 0, RING, IN_BUFFER);
    virtio_driver_add(driver, &own->tx, 1, RING, OUT_BUFFER);
    virtio_driver_add(driver, &own->events, 2, 16, 16);
    virtio_driver_go(driver);
    for (unsigned buffer = 0; buffer < RING; buffer++)
        virtio_ring_put(driver, &own->rx, buffer, IN_BUFFER, true);
    for (unsigned member = 0; member < CONNECTIONS; member++) {
        unsigned from;
        send_packet(crowd, member, PACKET_REQUEST, 0);
        flush(crowd);
        while (!receive_bytes(crowd, &from, &len) && own->num_open <= member)
            virtio_driver_wait(driver);
    }
    // cppcheck-suppress nullPointer ; as above
    *ret_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
}

static void send_bytes(struct crowd *crowd, unsigned member, uint32_t len)
{
    send_packet(crowd, member, PACKET_RW, len);
}

static bool has_room(const struct crowd *crowd)
{
    const struct connections *own = crowd->own;
    const struct peer *peer = &own->peers[0];
    return peer->host_room - (peer->sent - peer->host_forwarded) >= OUT_BUFFER;
}

static void read_first(struct crowd *crowd, bool reads)
{
    struct connections *own = crowd->own;
    own->holds_first = !reads;
    if (!reads)
        return;
    own->peers[0].forwarded += own->held;
    own->held = 0;
    send_packet(crowd, 0, PACKET_CREDIT_UPDATE, 0);
    flush(crowd);
}

static void close_connections(struct crowd *crowd)
{
    free(crowd->own);
}

const struct crowd_kind crowd_connections = {
    .name = "connections",
    .program = "outboard-vsock",
    .members = CONNECTIONS,
    .features = UINT64_C(1) << VIRTIO_F_VERSION_1 | 1, /* streams */
    .memory_len = UINT64_C(8) << 20,
    .add_options = add_options,
    .open_echoes = open_echoes,
    .accept_echoes = accept_echoes,
    .open = open_connections,
    .send = send_bytes,
    .receive = receive_bytes,
    .flush = flush,
    .has_room = has_room,
    .read_first = read_first,
    .close = close_connections,
};
