// SPDX-License-Identifier: BSD-3-Clause
/*
 * The frames of the session protocol, as docs/session-protocol.md lays them out: a header of 24
 * bytes and a payload. Pure encoding; the meaning of a frame is the engine's affair.
 *
 * Every _get returns 0 or -EPROTO, and gives nothing away on failure; every _put writes the payload
 * only and returns its length. Texts and bytes of a decoded message point into the payload.
 */
#ifndef OUTBOARD_WIRE_SESSION_WIRE_H
#define OUTBOARD_WIRE_SESSION_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define SESSION_VERSION       2
#define SESSION_HEADER_LEN    24
#define SESSION_CHALLENGE_LEN 16
#define SESSION_PROOF_LEN     32

/* The trailer of a frame on a raw line, before the bytes are stuffed: CRC-32C of the frame. */
#define SESSION_CRC_LEN 4

enum session_type {
    SESSION_HELLO = 1,
    SESSION_HELLO_ACK = 2,
    SESSION_BYE = 3,
    SESSION_GOAWAY = 4,
    SESSION_PING = 5,
    SESSION_PONG = 6,
    SESSION_OPEN = 7,
    SESSION_ACCEPT = 8,
    SESSION_REFUSE = 9,
    SESSION_DATA = 10,
    SESSION_CREDIT = 11,
    SESSION_FIN = 12,
    SESSION_RESET = 13,
    SESSION_TYPES = 14,
};

/* Header flag: the sender is the end with the greater nonce. Tells an echo from an answer. */
#define SESSION_FLAG_GREATER 0x01

/* HELLO flag: the sender has a key and wants proof. */
#define SESSION_HELLO_KEY 0x0001
/* HELLO flag: the sender listens, and may hold other connections like this one. */
#define SESSION_HELLO_LISTENS 0x0002

struct session_header {
    uint8_t type;
    uint8_t flags;
    uint16_t len; /* of the payload */
    uint32_t seq;
    uint64_t stream;
    uint64_t tag;
};

struct session_hello {
    uint16_t version;
    uint16_t flags;
    uint32_t max_streams;
    uint64_t nonce;
};

struct session_hello_ack {
    struct session_hello hello;
    uint64_t peer_nonce;
    uint8_t challenge[SESSION_CHALLENGE_LEN];      /* of the sender */
    uint8_t peer_challenge[SESSION_CHALLENGE_LEN]; /* that is answered; zeroes: not known yet */
    uint8_t proof[SESSION_PROOF_LEN];
};

struct session_open {
    uint32_t window;
    const uint8_t *service;
    size_t service_len;
    const uint8_t *metadata;
    size_t metadata_len;
};

struct session_credit {
    uint64_t consumed;
    uint32_t window;
};

#define SESSION_HELLO_LEN     24
#define SESSION_HELLO_ACK_LEN 96
/* The part of a HELLO_ACK that its proof covers: all of the payload before it. */
#define SESSION_PROVEN_LEN   64
#define SESSION_OPEN_LEN_MIN 8
#define SESSION_CREDIT_LEN   12

struct session_header session_header_get(const uint8_t bytes[SESSION_HEADER_LEN]);
void session_header_put(uint8_t bytes[SESSION_HEADER_LEN], const struct session_header *header);

/* -EPROTONOSUPPORT: another version; ret_hello->version then says which. */
int session_hello_get(const uint8_t *payload, size_t len, struct session_hello *ret_hello);
size_t session_hello_put(uint8_t *payload, const struct session_hello *hello);

int session_hello_ack_get(const uint8_t *payload, size_t len, struct session_hello_ack *ret_ack);
size_t session_hello_ack_put(uint8_t *payload, const struct session_hello_ack *ack);

int session_open_get(const uint8_t *payload, size_t len, struct session_open *ret_open);
size_t session_open_put(uint8_t *payload, const struct session_open *open);

int session_credit_get(const uint8_t *payload, size_t len, struct session_credit *ret_credit);
size_t session_credit_put(uint8_t *payload, const struct session_credit *credit);

/* ACCEPT (window), BYE, GOAWAY, REFUSE, RESET (reason). */
int session_u32_get(const uint8_t *payload, size_t len, uint32_t *ret_value);
size_t session_u32_put(uint8_t *payload, uint32_t value);

/* PING, PONG (value), FIN (bytes sent in all). */
int session_u64_get(const uint8_t *payload, size_t len, uint64_t *ret_value);
size_t session_u64_put(uint8_t *payload, uint64_t value);

#endif
