// SPDX-License-Identifier: BSD-3-Clause
#include "session/peer.h"

static void greet(struct peer *peer)
{
    static uint8_t bytes[4096];
    size_t len = end_take(&peer->pair, 0, bytes, sizeof(bytes));
    struct session_hello hello;
    assert_int_equal(
        session_hello_get(bytes + SESSION_HEADER_LEN, len - SESSION_HEADER_LEN, &hello), 0);
    struct session_hello_ack ack = {.peer_nonce = hello.nonce};
    ack.hello = (struct session_hello){
        .version = SESSION_VERSION, .max_streams = 65536, .nonce = PEER_NONCE};
    uint8_t payload[SESSION_HELLO_ACK_LEN];
    struct session_header header = {.type = SESSION_HELLO,
                                    .len = (uint16_t)session_hello_put(payload, &ack.hello)};
    assert_int_equal(peer_send_header(peer, &header, payload), 0);
    header.type = SESSION_HELLO_ACK;
    header.len = (uint16_t)session_hello_ack_put(payload, &ack);
    assert_int_equal(peer_send_header(peer, &header, payload), 0);
    end_take(&peer->pair, 0, bytes, sizeof(bytes));
}

void peer_up(struct peer *peer, struct ob_session_config config)
{
    *peer = (struct peer){.end = &peer->pair.ends[0], .next_id = 1};
    pair_new(&peer->pair, &config, &config);
    assert_int_equal(ob_session_transport_up(peer->end->session, peer->pair.now), 0);
    greet(peer);
    assert_int_equal(peer->end->ups, 1);
}

void peer_free(struct peer *peer)
{
    pair_free(&peer->pair);
}

int peer_send_header(struct peer *peer, const struct session_header *header, const void *payload)
{
    uint8_t bytes[SESSION_HEADER_LEN + 65536];
    session_header_put(bytes, header);
    if (header->len)
        memcpy(bytes + SESSION_HEADER_LEN, payload, header->len);
    return end_give(&peer->pair, 0, bytes, SESSION_HEADER_LEN + (size_t)header->len);
}

int peer_send(struct peer *peer, enum session_type type, uint64_t stream, const void *payload,
              size_t len)
{
    struct session_header header = {
        .type = (uint8_t)type,
        .len = (uint16_t)len,
        .seq = peer->seq++,
        .stream = stream,
        .tag = peer->end->tag,
    };
    return peer_send_header(peer, &header, payload);
}

int peer_send_u32(struct peer *peer, enum session_type type, uint64_t stream, uint32_t value)
{
    uint8_t payload[4];
    return peer_send(peer, type, stream, payload, session_u32_put(payload, value));
}

int peer_send_u64(struct peer *peer, enum session_type type, uint64_t stream, uint64_t value)
{
    uint8_t payload[8];
    return peer_send(peer, type, stream, payload, session_u64_put(payload, value));
}

int peer_send_credit(struct peer *peer, uint64_t stream, uint64_t consumed, uint32_t window)
{
    uint8_t payload[SESSION_CREDIT_LEN];
    struct session_credit credit = {.consumed = consumed, .window = window};
    return peer_send(peer, SESSION_CREDIT, stream, payload, session_credit_put(payload, &credit));
}

uint64_t peer_open(struct peer *peer, uint32_t window)
{
    uint8_t payload[16];
    struct session_open open = {
        .window = window, .service = (const uint8_t *)"x", .service_len = 1};
    size_t len = session_open_put(payload, &open);
    uint64_t id = peer->next_id;
    assert_int_equal(peer_send(peer, SESSION_OPEN, id, payload, len), 0);
    peer->next_id += 2;
    return id;
}

uint8_t peer_take(struct peer *peer, uint32_t *ret_value)
{
    static uint8_t bytes[1 << 20];
    size_t len = end_take(&peer->pair, 0, bytes, sizeof(bytes));
    uint8_t type = 0;
    for (size_t at = 0; at + SESSION_HEADER_LEN <= len;) {
        struct session_header header = session_header_get(bytes + at);
        at += SESSION_HEADER_LEN;
        type = header.type;
        if (ret_value && header.len >= 4)
            assert_int_equal(session_u32_get(bytes + at, 4, ret_value), 0);
        at += header.len;
    }
    return type;
}
