// SPDX-License-Identifier: BSD-3-Clause
/*
 * The socket device (devices/vsock) between a hostile guest and programs of the host, or devices of
 * other guests, that come and go. Sockets are those of pair_model.h; time is the input's.
 *
 * What must hold: a host's program reads the very bytes that the guest has sent, in order and
 * without a gap, and the guest those of the host; the device sends no more than the guest has ever
 * given room for; it answers no RST; it never has more connections than it was allowed; and at the
 * end it holds no descriptor.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "check.h"
#include "fake/vsock_driver.h"
#include "greeting.h"
#include "pair_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PORTS         4u
#define CONNECTIONS   3u
#define STEPS         100u
#define HOST_PORT     80u
#define FIRST_OF_MORE 208u /* of the values that name a step */
#define OTHER_CID     9u   /* of another guest */

/* A connection as the guest sees it: its port is 1000 plus the number. Bytes of either direction
 * count up. */
struct peer {
    int fd; /* the host's program; -1: there is none */
    uint16_t type;
    uint32_t cid, port; /* of its other end */
    char line[24];      /* before the bytes that the guest has sent: the device's consent... */
    size_t line_left;   /* ...and how much of it is still to come */
    bool open;          /* the guest has got its RESPONSE */
    uint64_t sent, got; /* by the guest */
    uint64_t host_sent, host_got;
    uint64_t allowed; /* the most that the device may have sent */
    uint32_t buf_alloc;
};

struct run {
    struct rd input;
    struct driver driver;
    struct peer peers[PORTS];
};

/* The bytes of a stream behind a position. They repeat after 65,536, so that a whole packet is made and
 * compared at once: loops over bytes took most of an execution. */
static const uint8_t *bytes_at(uint64_t position)
{
    static uint8_t bytes[65536 + 2 * PACKET_PAYLOAD_MAX];
    if (bytes[1] == 0)
        for (uint32_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(i * 7 + (i >> 8));
    return bytes + position % 65536;
}

static void forget(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    *peer = (struct peer){.fd = -1, .cid = VSOCK_CID_HOST, .port = HOST_PORT};
}

/* Packets of the device. */
static void take_packets(struct run *run)
{
    for (;;) {
        struct driver_packet got = driver_next(&run->driver);
        const struct packet *header = &got.header;
        if (!header->op)
            return;
        CHECK(header->dst_cid == DRIVER_CID);
        struct peer *peer = &run->peers[(header->dst_port - 1000) % PORTS];
        switch (header->op) {
        case PACKET_RST:
            if (header->src_cid == peer->cid && header->src_port == peer->port &&
                header->type == peer->type)
                peer->open = false;
            break;
        case PACKET_REQUEST: /* one for a client that has gone is not answered */
            if (header->type == peer->type && header->src_cid == peer->cid && peer->port == 0)
                peer->port = header->src_port;
            break;
        case PACKET_RESPONSE:
            peer->open = true;
            break;
        case PACKET_RW:
            CHECK(peer->type == header->type && peer->cid == header->src_cid);
            CHECK(memcmp(got.payload, bytes_at(peer->got), header->len) == 0);
            peer->got += header->len;
            CHECK(peer->got <= peer->allowed);
            break;
        default:
            break;
        }
    }
}

static void turn(struct run *run)
{
    driver_turn(&run->driver);
    take_packets(run);
}

static void say(struct run *run, struct peer *peer, unsigned op, uint32_t flags,
                const void *payload, uint32_t len)
{
    const struct packet packet = {.src_cid = DRIVER_CID,
                                  .dst_cid = peer->cid,
                                  .src_port = 1000 + (uint32_t)(peer - run->peers),
                                  .dst_port = peer->port,
                                  .len = len,
                                  .type = peer->type,
                                  .op = (uint16_t)op,
                                  .flags = flags,
                                  .buf_alloc = peer->buf_alloc,
                                  .fwd_cnt = (uint32_t)peer->got};
    if (peer->got + peer->buf_alloc > peer->allowed)
        peer->allowed = peer->got + peer->buf_alloc;
    driver_send(&run->driver, &packet, payload, len);
}

/* Whether the socket carries fragments of messages, each behind a byte of flags. */
static bool has_fragments(const struct peer *peer)
{
    return peer->type == PACKET_SEQPACKET && peer->cid == OTHER_CID;
}

/* The other device reads the line and answers: as it should, or with the input's bytes. */
static void answer_line(struct run *run, const struct peer *peer, bool well)
{
    char line[64] = "", expected[64];
    uint8_t answer[64] = "OK 1000\n";
    size_t len = strlen((const char *)answer);
    snprintf(expected, sizeof(expected), "CONNECT %u FROM %u\n", HOST_PORT,
             1000 + (unsigned)(peer - run->peers));
    CHECK(recv(peer->fd, line, sizeof(line) - 1, 0) == (ssize_t)strlen(expected));
    CHECK(strcmp(line, expected) == 0);
    if (!well) {
        len = rd_u8(&run->input) % sizeof(answer);
        for (size_t i = 0; i < len; i++)
            answer[i] = rd_u8(&run->input);
        if (answer[0] == 'O' || answer[0] == 'o') /* no consent, behind which data would follow */
            answer[0] = 'x';
    }
    ssize_t sent = send(peer->fd, answer, len, MSG_NOSIGNAL);
    CHECK(!well || sent == (ssize_t)len);
}

/* The guest asks for a connection, and the other end answers in one of three ways. */
static void ask(struct run *run, struct peer *peer, unsigned how)
{
    int ends[2];
    say(run, peer, PACKET_RST, 0, NULL, 0);
    forget(peer);
    peer->type = how & 4 ? PACKET_SEQPACKET : PACKET_STREAM;
    peer->cid = how & 16 ? OTHER_CID : VSOCK_CID_HOST;
    peer->buf_alloc = (how & 8 ? 1u << 18 : 1u + how * 97u);
    unsigned dials = run->driver.dials;
    say(run, peer, PACKET_REQUEST, 0, NULL, 0);
    if (run->driver.dials == dials || how % 4 == 0)
        return; /* refused, or not answered yet */
    int type = peer->type == PACKET_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    if (how % 4 == 1) {
        close(ends[0]);
        close(ends[1]);
        vsock_dialled(run->driver.vsock, run->driver.call, -1);
        return;
    }
    vsock_dialled(run->driver.vsock, run->driver.call, ends[0]);
    peer->fd = ends[1];
    if (peer->cid == OTHER_CID)
        answer_line(run, peer, !(how & 32));
}

/* A program of the host, or the device of another guest, asks for the guest's port. */
static void client(struct run *run, struct peer *peer, unsigned how)
{
    int ends[2], err;
    const bool is_other = how & 16, announces = is_other || how & 2;
    const struct connection_peer from = {OTHER_CID, HOST_PORT + how % 3};
    say(run, peer, PACKET_RST, 0, NULL, 0);
    turn(run);
    forget(peer);
    peer->type = how & 4 ? PACKET_SEQPACKET : PACKET_STREAM;
    peer->cid = is_other ? OTHER_CID : VSOCK_CID_HOST;
    peer->port = is_other ? from.port : 0;
    peer->buf_alloc = how & 8 ? 1u << 18 : 1u + how * 97u;
    const int type = peer->type == PACKET_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    const uint32_t port = 1000 + (uint32_t)(peer - run->peers);
    err = is_other ? vsock_connect_peer(run->driver.vsock, ends[0], port, from, peer->type)
                   : vsock_connect(run->driver.vsock, ends[0], port, peer->type, announces);
    peer->fd = ends[1];
    if (err < 0) {
        close(ends[0]);
        forget(peer);
        return;
    }
    turn(run);
    if (peer->port == 0) { /* the guest has no buffer for the request */
        forget(peer);
        return;
    }
    if (announces)
        peer->line_left = (size_t)snprintf(peer->line, sizeof(peer->line), "OK %u\n", peer->port);
    peer->open = how % 2 == 0;
    say(run, peer, peer->open ? PACKET_RESPONSE : PACKET_RST, 0, NULL, 0);
}

/* A line by which a program of the host, or another device, asks for a port. */
static void greet(struct run *run, unsigned how)
{
    struct greeting greeting = {0};
    char line[GREETING_MAX + 8];
    int ends[2], got = -EAGAIN;
    uint32_t port, peer_port = 0;
    greeting_format(how, how * 7919u, line);
    size_t len = strlen(line);
    for (unsigned changes = how % 4; changes > 0; changes--) {
        const uint8_t at = rd_u8(&run->input);
        line[at % len] = (char)rd_u8(&run->input);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    for (size_t at = 0; at < len && got == -EAGAIN; at += 1 + how % 9) {
        const size_t piece = len - at < 1 + how % 9 ? len - at : 1 + how % 9;
        CHECK(send(ends[1], line + at, piece, MSG_NOSIGNAL) == (ssize_t)piece);
        got = greeting_take(&greeting, ends[0]);
    }
    if (got == 0) {
        CHECK(greeting.len <= len && greeting.line[greeting.len - 1] == '\n');
        const bool is_peers = greeting_parse_peer(&greeting, &port, &peer_port) == 0;
        CHECK(!is_peers || greeting_parse(&greeting, &port) < 0);
        CHECK(how % 4 || (is_peers && port == how && peer_port == how * 7919u));
        greeting_is_consent(&greeting);
    }
    close(ends[0]);
    close(ends[1]);
}

/* The guest's driver begins again, its VM has been paused, or has moved. */
static void restart(struct run *run, unsigned how)
{
    if (how & 128) {
        greet(run, how);
        return;
    }
    if (how & 64) {
        const uint8_t state[9] = {(uint8_t)how};
        const int err = driver_move(&run->driver, state, how & 32 ? 8 : how % 10);
        CHECK((err == 0) == (how & 32 || how % 10 == 8));
        return;
    }
    if (how % 4) {
        driver_restart(&run->driver);
        return;
    }
    driver_reset(&run->driver);
    take_packets(run);
    for (unsigned i = 0; i < PORTS; i++)
        forget(&run->peers[i]);
}

static void guest_sends(struct run *run, struct peer *peer, uint32_t len, bool ends)
{
    if (!peer->open)
        return;
    const uint8_t *bytes = bytes_at(peer->sent);
    peer->sent += len;
    say(run, peer, PACKET_RW, ends ? PACKET_END_OF_MESSAGE : 0, bytes, len);
}

static void host_sends(struct run *run, struct peer *peer, uint32_t len)
{
    if (peer->fd < 0)
        return;
    uint8_t flags = len % 8 ? PACKET_END_OF_MESSAGE : (uint8_t)(len / 8);
    const struct iovec pieces[] = {
        {.iov_base = &flags, .iov_len = 1},
        {.iov_base = (uint8_t *)bytes_at(peer->host_sent), .iov_len = len}};
    const size_t head = has_fragments(peer) ? 1 : 0;
    const struct msghdr message = {.msg_iov = (struct iovec *)&pieces[1 - head],
                                   .msg_iovlen = 1 + head};
    ssize_t sent = sendmsg(peer->fd, &message, MSG_NOSIGNAL);
    if (sent > 0)
        peer->host_sent += (uint64_t)sent - head;
}

static void host_reads(struct peer *peer, size_t len)
{
    static uint8_t bytes[PACKET_PAYLOAD_MAX * 2];
    if (peer->fd < 0)
        return;
    if (peer->type == PACKET_SEQPACKET)
        len = sizeof(bytes); /* the rest of a message would be lost */
    ssize_t got = recv(peer->fd, bytes, len < sizeof(bytes) ? len : sizeof(bytes), MSG_TRUNC);
    const ssize_t head = has_fragments(peer) ? 1 : 0;
    if (got > 0 && peer->line_left > 0) {
        const size_t skipped = (size_t)got < peer->line_left ? (size_t)got : peer->line_left;
        CHECK(memcmp(bytes, peer->line + strlen(peer->line) - peer->line_left, skipped) == 0);
        peer->line_left -= skipped;
        got -= (ssize_t)skipped;
        memmove(bytes, bytes + skipped, (size_t)got);
        if (got == 0)
            return;
    }
    if (got > head) {
        const size_t kept = (size_t)got < sizeof(bytes) ? (size_t)got : sizeof(bytes);
        CHECK(memcmp(bytes + head, bytes_at(peer->host_got), kept - (size_t)head) == 0);
        peer->host_got += (uint64_t)(got - head);
    }
    CHECK(peer->host_got <= peer->sent);
}

/* Any bytes at all, of which some are a header of another connection or for another device. */
static void send_noise(struct run *run, unsigned len)
{
    uint8_t bytes[128] = {0};
    struct packet packet;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = rd_u8(&run->input);
    packet_get(bytes, &packet);
    packet.src_port = 500000; /* none of the connections whose bytes are watched */
    packet_put(&packet, bytes);
    driver_send_raw(&run->driver, bytes, len % sizeof(bytes));
}

static void step(struct run *run)
{
    struct peer *peer = &run->peers[rd_u8(&run->input) % PORTS];
    const uint8_t what = rd_u8(&run->input);
    const unsigned action = what < FIRST_OF_MORE ? what % 13 : 13 + what % 3,
                   how = rd_u16(&run->input);
    switch (action) {
    case 0:
        ask(run, peer, how);
        break;
    case 1:
    case 2:
        guest_sends(run, peer, action == 1 ? how % 512 : how, action == 1);
        break;
    case 3:
        host_sends(run, peer, how & 1 ? how : how % 512);
        break;
    case 4:
        host_reads(peer, how + 1u);
        break;
    case 5:
        say(run, peer, PACKET_SHUTDOWN, how % 4, NULL, 0);
        break;
    case 6:
        if (peer->fd >= 0)
            shutdown(peer->fd, how % 3);
        break;
    case 7:
        if (peer->fd >= 0)
            close(peer->fd);
        peer->fd = -1;
        break;
    case 8:
        say(run, peer, how % 9, how >> 8, NULL, 0);
        break;
    case 9:
        peer->buf_alloc = how;
        say(run, peer, PACKET_CREDIT_UPDATE, 0, NULL, 0);
        break;
    case 10:
        driver_give(&run->driver, how % 64);
        break;
    case 11:
        driver_pass_s(&run->driver, how % 20);
        break;
    case 12:
        send_noise(run, how);
        break;
    case 15:
        restart(run, how);
        break;
    default:
        client(run, peer, how);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    run = (struct run){.input = rd_init(data, size)};
    for (unsigned i = 0; i < PORTS; i++)
        run.peers[i] = (struct peer){
            .fd = -1, .type = PACKET_STREAM, .cid = VSOCK_CID_HOST, .port = HOST_PORT};
    driver_begin(&run.driver, CONNECTIONS);
    for (unsigned i = 0; i < STEPS && run.input.left > 0 && !run.input.bad; i++) {
        step(&run);
        turn(&run);
    }
    CHECK(run.driver.lost == 0);
    CHECK(!run.driver.failed);
    driver_end(&run.driver);
    for (unsigned i = 0; i < PORTS; i++)
        forget(&run.peers[i]);
    CHECK(pair_count_open() == 0);
    return 0;
}
