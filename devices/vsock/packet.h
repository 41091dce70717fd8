// SPDX-License-Identifier: BSD-3-Clause
/*
 * Packet: the header that begins each packet of a virtio socket device.
 *
 * Source: OASIS virtio 1.2, section 5.10.6, and linux/virtio_vsock.h.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_PACKET_H
#define OUTBOARD_DEVICES_VSOCK_PACKET_H

#include <stdint.h>

#define PACKET_HEADER_LEN 44

/* A driver sends at most this in one packet (Linux: 64 KiB). */
#define PACKET_PAYLOAD_MAX 65536u

/* Context ids of guests are from 3 to 2^32 - 2. */
#define VSOCK_CID_HOST      2u
#define VSOCK_CID_GUEST_MIN 3u
#define VSOCK_CID_GUEST_MAX (UINT32_MAX - 1)

enum packet_type {
    PACKET_STREAM = 1,
    PACKET_SEQPACKET = 2,
};

enum packet_op {
    PACKET_INVALID = 0,
    PACKET_REQUEST = 1,
    PACKET_RESPONSE = 2,
    PACKET_RST = 3,
    PACKET_SHUTDOWN = 4,
    PACKET_RW = 5,
    PACKET_CREDIT_UPDATE = 6,
    PACKET_CREDIT_REQUEST = 7,
};

/* Of PACKET_SHUTDOWN: the directions that its sender ends. */
enum packet_shutdown {
    PACKET_NO_RECEIVE = 1,
    PACKET_NO_SEND = 2,
    PACKET_NEITHER = PACKET_NO_RECEIVE | PACKET_NO_SEND,
};

/* Of PACKET_RW with PACKET_SEQPACKET. */
enum packet_flag {
    PACKET_END_OF_MESSAGE = 1,
    PACKET_END_OF_RECORD = 2,
};

struct packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len; /* bytes of payload behind the header */
    uint16_t type, op;
    uint32_t flags;
    uint32_t buf_alloc, fwd_cnt; /* the sender's credit (credit.h) */
};

/* Any bytes are a header; the fields may have any value. */
void packet_get(const uint8_t bytes[PACKET_HEADER_LEN], struct packet *ret_packet);
void packet_put(const struct packet *packet, uint8_t ret_bytes[PACKET_HEADER_LEN]);

#endif
