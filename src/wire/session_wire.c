// SPDX-License-Identifier: BSD-3-Clause
#include "wire/session_wire.h"

#include "base/cursor.h"
#include "base/limits.h"

#include <errno.h>
#include <string.h>

static const uint8_t magic[8] = {'O', 'U', 'T', 'B', 'O', 'A', 'R', 'D'};

/* Header: type 0, flags 1, len 2, seq 4, stream 8, tag 16. */
struct session_header session_header_get(const uint8_t bytes[SESSION_HEADER_LEN])
{
    struct rd rd = rd_init(bytes, SESSION_HEADER_LEN);
    struct session_header header;
    header.type = rd_u8(&rd);
    header.flags = rd_u8(&rd);
    header.len = rd_u16(&rd);
    header.seq = rd_u32(&rd);
    header.stream = rd_u64(&rd);
    header.tag = rd_u64(&rd);
    return header;
}

void session_header_put(uint8_t bytes[SESSION_HEADER_LEN], const struct session_header *header)
{
    struct wr wr = wr_init(bytes, SESSION_HEADER_LEN);
    wr_u8(&wr, header->type);
    wr_u8(&wr, header->flags);
    wr_u16(&wr, header->len);
    wr_u32(&wr, header->seq);
    wr_u64(&wr, header->stream);
    wr_u64(&wr, header->tag);
}

/* HELLO: magic 0, version 8, flags 10, max_streams 12, nonce 16. */
static int get_hello(struct rd *rd, struct session_hello *ret_hello)
{
    uint8_t found[sizeof(magic)];
    struct session_hello hello = {0};
    rd_bytes(rd, found, sizeof(found));
    hello.version = rd_u16(rd);
    if (rd->bad || memcmp(found, magic, sizeof(magic)) != 0)
        return -EPROTO;
    if (hello.version != SESSION_VERSION) {
        *ret_hello = hello;
        return -EPROTONOSUPPORT;
    }
    hello.flags = rd_u16(rd);
    hello.max_streams = rd_u32(rd);
    hello.nonce = rd_u64(rd);
    if (rd->bad || !hello.nonce || hello.flags & ~(SESSION_HELLO_KEY | SESSION_HELLO_LISTENS))
        return -EPROTO;
    *ret_hello = hello;
    return 0;
}

int session_hello_get(const uint8_t *payload, size_t len, struct session_hello *ret_hello)
{
    struct rd rd = rd_init(payload, len);
    struct session_hello hello;
    int result = get_hello(&rd, &hello);
    if (result == 0)
        result = rd_done(&rd);
    if (result != -EPROTO)
        *ret_hello = hello;
    return result;
}

static void put_hello(struct wr *wr, const struct session_hello *hello)
{
    wr_bytes(wr, magic, sizeof(magic));
    wr_u16(wr, hello->version);
    wr_u16(wr, hello->flags);
    wr_u32(wr, hello->max_streams);
    wr_u64(wr, hello->nonce);
}

size_t session_hello_put(uint8_t *payload, const struct session_hello *hello)
{
    struct wr wr = wr_init(payload, SESSION_HELLO_LEN);
    put_hello(&wr, hello);
    return wr.len;
}

/* HELLO_ACK: a HELLO 0, peer_nonce 24, challenge 32, peer_challenge 48, proof 64. */
int session_hello_ack_get(const uint8_t *payload, size_t len, struct session_hello_ack *ret_ack)
{
    struct rd rd = rd_init(payload, len);
    struct session_hello_ack ack;
    int result = get_hello(&rd, &ack.hello);
    if (result < 0)
        return result;
    ack.peer_nonce = rd_u64(&rd);
    rd_bytes(&rd, ack.challenge, sizeof(ack.challenge));
    rd_bytes(&rd, ack.peer_challenge, sizeof(ack.peer_challenge));
    rd_bytes(&rd, ack.proof, sizeof(ack.proof));
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_ack = ack;
    return 0;
}

size_t session_hello_ack_put(uint8_t *payload, const struct session_hello_ack *ack)
{
    struct wr wr = wr_init(payload, SESSION_HELLO_ACK_LEN);
    put_hello(&wr, &ack->hello);
    wr_u64(&wr, ack->peer_nonce);
    wr_bytes(&wr, ack->challenge, sizeof(ack->challenge));
    wr_bytes(&wr, ack->peer_challenge, sizeof(ack->peer_challenge));
    wr_bytes(&wr, ack->proof, sizeof(ack->proof));
    return wr.len;
}

/* OPEN: window 0, service_len 4, metadata_len 6, service 8, metadata after it. */
int session_open_get(const uint8_t *payload, size_t len, struct session_open *ret_open)
{
    struct rd rd = rd_init(payload, len);
    struct session_open open;
    open.window = rd_u32(&rd);
    open.service_len = rd_u16(&rd);
    open.metadata_len = rd_u16(&rd);
    open.service = rd.at;
    rd_skip(&rd, open.service_len);
    open.metadata = rd.at;
    rd_skip(&rd, open.metadata_len);
    if (rd_done(&rd) < 0 || open.service_len < 1 ||
        open.service_len > LIMIT_SESSION_SERVICE_BYTES ||
        open.metadata_len > LIMIT_SESSION_METADATA_BYTES)
        return -EPROTO;
    *ret_open = open;
    return 0;
}

size_t session_open_put(uint8_t *payload, const struct session_open *open)
{
    struct wr wr = wr_init(payload, LIMIT_SESSION_CONTROL_PAYLOAD);
    wr_u32(&wr, open->window);
    wr_u16(&wr, (uint16_t)open->service_len);
    wr_u16(&wr, (uint16_t)open->metadata_len);
    wr_bytes(&wr, open->service, open->service_len);
    wr_bytes(&wr, open->metadata, open->metadata_len);
    return wr.len;
}

/* CREDIT: consumed 0, window 8. */
int session_credit_get(const uint8_t *payload, size_t len, struct session_credit *ret_credit)
{
    struct rd rd = rd_init(payload, len);
    struct session_credit credit;
    credit.consumed = rd_u64(&rd);
    credit.window = rd_u32(&rd);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_credit = credit;
    return 0;
}

size_t session_credit_put(uint8_t *payload, const struct session_credit *credit)
{
    struct wr wr = wr_init(payload, SESSION_CREDIT_LEN);
    wr_u64(&wr, credit->consumed);
    wr_u32(&wr, credit->window);
    return wr.len;
}

int session_u32_get(const uint8_t *payload, size_t len, uint32_t *ret_value)
{
    struct rd rd = rd_init(payload, len);
    uint32_t value = rd_u32(&rd);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_value = value;
    return 0;
}

size_t session_u32_put(uint8_t *payload, uint32_t value)
{
    struct wr wr = wr_init(payload, sizeof(value));
    wr_u32(&wr, value);
    return wr.len;
}

int session_u64_get(const uint8_t *payload, size_t len, uint64_t *ret_value)
{
    struct rd rd = rd_init(payload, len);
    uint64_t value = rd_u64(&rd);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    *ret_value = value;
    return 0;
}

size_t session_u64_put(uint8_t *payload, uint64_t value)
{
    struct wr wr = wr_init(payload, sizeof(value));
    wr_u64(&wr, value);
    return wr.len;
}
