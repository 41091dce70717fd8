// SPDX-License-Identifier: BSD-3-Clause
/*
 * The socket device (devices/vsock) between a hostile guest and programs of the host, or devices of
 * other guests, that come and go. Sockets are real; time is the input's.
 *
 * What must hold: a host's program reads the very bytes that the guest has sent, in order and
 * without a gap, and the guest those of the host; the device sends no more than the guest has ever
 * given room for; it answers no RST; it never has more connections than it was allowed; and at the
 * end it holds no descriptor.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "check.h"
#include "fake/vsock_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PORTS       4u
#define CONNECTIONS 3u
#define STEPS       100u
#define HOST_PORT   80u
#define OTHER_CID   9u /* of another guest */

/* A connection as the guest sees it: its port is 1000 plus the number. Bytes of either direction
 * count up. */
struct peer {
    int fd; /* the host's program; -1: there is none */
    uint16_t type;
    uint32_t cid;       /* of its other end */
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
    *peer = (struct peer){.fd = -1, .cid = VSOCK_CID_HOST};
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
            if (header->src_cid == peer->cid && header->src_port == HOST_PORT &&
                header->type == peer->type)
                peer->open = false;
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
                                  .dst_port = HOST_PORT,
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
    unsigned action = rd_u8(&run->input) % 13, how = rd_u16(&run->input);
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
    default:
        send_noise(run, how);
        break;
    }
}

/* The lowest number that is free. */
static int next_descriptor(void)
{
    int fd = dup(0), number = fd;
    close(fd);
    return number;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    int before = next_descriptor();
    run = (struct run){.input = rd_init(data, size)};
    for (unsigned i = 0; i < PORTS; i++)
        run.peers[i] = (struct peer){.fd = -1, .type = PACKET_STREAM, .cid = VSOCK_CID_HOST};
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
    CHECK(next_descriptor() == before);
    return 0;
}
