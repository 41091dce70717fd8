// SPDX-License-Identifier: BSD-3-Clause
/*
 * Credit: how many bytes either end of a connection may still send.
 *
 * Each end tells in every header how large its buffer is (buf_alloc) and how many bytes have left
 * it since the connection was made (fwd_cnt). The other end has room for buf_alloc bytes less those
 * that it has sent and that have not left. All counters wrap at 2^32 (virtio 1.2, section
 * 5.10.6.3). The peer's values are hostile: it may shrink its buffer below the bytes in flight, or
 * claim to have forwarded bytes that were never sent. Both mean that it has no room.
 */
#ifndef OUTBOARD_DEVICES_VSOCK_CREDIT_H
#define OUTBOARD_DEVICES_VSOCK_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

struct credit {
    /* From the device to the peer. */
    uint32_t sent;
    uint32_t peer_buf_alloc, peer_fwd_cnt;
    /* From the peer to the device. */
    uint32_t received;
    uint32_t buf_alloc, fwd_cnt;
    uint32_t told_fwd_cnt; /* the peer's knowledge of fwd_cnt */
};

/* Bytes that the peer takes at present. */
static inline uint32_t credit_room(const struct credit *credit)
{
    uint32_t in_flight = credit->sent - credit->peer_fwd_cnt;
    return in_flight < credit->peer_buf_alloc ? credit->peer_buf_alloc - in_flight : 0;
}

/* Bytes that the device takes at present. */
static inline uint32_t credit_own_room(const struct credit *credit)
{
    return credit->buf_alloc - (credit->received - credit->fwd_cnt);
}

/* Whether the peer believes that less than half of the device's buffer is free although more is. */
static inline bool credit_is_stale(const struct credit *credit)
{
    uint32_t believed = credit->buf_alloc - (credit->received - credit->told_fwd_cnt);
    return believed < credit->buf_alloc / 2 && credit->fwd_cnt != credit->told_fwd_cnt;
}

#endif
