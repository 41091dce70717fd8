// SPDX-License-Identifier: BSD-3-Clause
#include "packet.h"

#include "bytes.h"

/* struct virtio_vsock_hdr, packed: where each field begins. */
enum offset {
    SRC_CID = 0,
    DST_CID = 8,
    SRC_PORT = 16,
    DST_PORT = 20,
    LEN = 24,
    TYPE = 28,
    OP = 30,
    FLAGS = 32,
    BUF_ALLOC = 36,
    FWD_CNT = 40,
};

void packet_get(const uint8_t bytes[PACKET_HEADER_LEN], struct packet *ret_packet)
{
    *ret_packet = (struct packet){
        .src_cid = get64(bytes + SRC_CID),
        .dst_cid = get64(bytes + DST_CID),
        .src_port = get32(bytes + SRC_PORT),
        .dst_port = get32(bytes + DST_PORT),
        .len = get32(bytes + LEN),
        .type = get16(bytes + TYPE),
        .op = get16(bytes + OP),
        .flags = get32(bytes + FLAGS),
        .buf_alloc = get32(bytes + BUF_ALLOC),
        .fwd_cnt = get32(bytes + FWD_CNT),
    };
}

void packet_put(const struct packet *packet, uint8_t ret_bytes[PACKET_HEADER_LEN])
{
    put64(ret_bytes + SRC_CID, packet->src_cid);
    put64(ret_bytes + DST_CID, packet->dst_cid);
    put32(ret_bytes + SRC_PORT, packet->src_port);
    put32(ret_bytes + DST_PORT, packet->dst_port);
    put32(ret_bytes + LEN, packet->len);
    put16(ret_bytes + TYPE, packet->type);
    put16(ret_bytes + OP, packet->op);
    put32(ret_bytes + FLAGS, packet->flags);
    put32(ret_bytes + BUF_ALLOC, packet->buf_alloc);
    put32(ret_bytes + FWD_CNT, packet->fwd_cnt);
}
