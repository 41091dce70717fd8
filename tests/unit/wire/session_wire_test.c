// SPDX-License-Identifier: BSD-3-Clause
#include "wire/session_wire.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static const uint8_t header_bytes[SESSION_HEADER_LEN] = {
    0x0a, 0x01, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0x11, 0x22, 0x33, 0x44,
    0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01,
};

static const uint8_t hello_bytes[SESSION_HELLO_LEN] = {
    'O',  'U',  'T',  'B',  'O',  'A',  'R',  'D',  0x02, 0x00, 0x01, 0x00,
    0x00, 0x04, 0x00, 0x00, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
};

static const uint8_t open_bytes[] = {
    0x00, 0x00, 0x04, 0x00, 0x04, 0x00, 0x02, 0x00, 'e', 'c', 'h', 'o', 0xca, 0xfe,
};

static const uint8_t credit_bytes[SESSION_CREDIT_LEN] = {
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x01, 0x00,
};

static void header_golden(void **state)
{
    uint8_t bytes[SESSION_HEADER_LEN];
    struct session_header header = session_header_get(header_bytes);
    assert_int_equal(header.type, SESSION_DATA);
    assert_int_equal(header.flags, SESSION_FLAG_GREATER);
    assert_int_equal(header.len, 0x1234);
    assert_int_equal(header.seq, 0x12345678);
    assert_true(header.stream == 0x8877665544332211);
    assert_true(header.tag == 0x01ffeeddccbbaa99);
    session_header_put(bytes, &header);
    assert_memory_equal(bytes, header_bytes, sizeof(bytes));
}

static void hello_golden(void **state)
{
    struct session_hello hello;
    uint8_t bytes[SESSION_HELLO_LEN];
    assert_int_equal(session_hello_get(hello_bytes, sizeof(hello_bytes), &hello), 0);
    assert_int_equal(hello.version, 2);
    assert_int_equal(hello.flags, SESSION_HELLO_KEY);
    assert_int_equal(hello.max_streams, 1024);
    assert_true(hello.nonce == 0x1111111111111111);
    assert_int_equal(session_hello_put(bytes, &hello), sizeof(bytes));
    assert_memory_equal(bytes, hello_bytes, sizeof(bytes));
}

static void hello_refuses_what_is_none(void **state)
{
    struct session_hello hello;
    uint8_t bytes[SESSION_HELLO_LEN + 1];
    memcpy(bytes, hello_bytes, sizeof(hello_bytes));
    for (size_t i = 0; i < 8; i++) {
        bytes[i] ^= 1;
        assert_int_equal(session_hello_get(bytes, SESSION_HELLO_LEN, &hello), -EPROTO);
        bytes[i] ^= 1;
    }
    bytes[10] = 4; /* no such flag */
    assert_int_equal(session_hello_get(bytes, SESSION_HELLO_LEN, &hello), -EPROTO);
    bytes[10] = 1;
    memset(bytes + 16, 0, 8); /* no nonce */
    assert_int_equal(session_hello_get(bytes, SESSION_HELLO_LEN, &hello), -EPROTO);
    bytes[8] = 3;
    assert_int_equal(session_hello_get(bytes, SESSION_HELLO_LEN, &hello), -EPROTONOSUPPORT);
    assert_int_equal(session_hello_get(bytes, 10, &hello), -EPROTONOSUPPORT);
    assert_int_equal(hello.version, 3);
}

static void hello_ack_round_trip(void **state)
{
    struct session_hello_ack ack = {.peer_nonce = 7}, got;
    uint8_t bytes[SESSION_HELLO_ACK_LEN];
    assert_int_equal(session_hello_get(hello_bytes, sizeof(hello_bytes), &ack.hello), 0);
    memset(ack.challenge, 0x11, sizeof(ack.challenge));
    memset(ack.peer_challenge, 0x22, sizeof(ack.peer_challenge));
    memset(ack.proof, 0x5a, sizeof(ack.proof));
    assert_int_equal(session_hello_ack_put(bytes, &ack), sizeof(bytes));
    assert_int_equal(session_hello_ack_get(bytes, sizeof(bytes), &got), 0);
    assert_true(got.peer_nonce == 7 && got.hello.nonce == ack.hello.nonce);
    assert_memory_equal(got.proof, ack.proof, sizeof(ack.proof));
    assert_memory_equal(bytes, hello_bytes, sizeof(hello_bytes));
    assert_int_equal(bytes[24], 7);
    assert_memory_equal(bytes + 32, ack.challenge, 16);
    assert_memory_equal(bytes + 48, ack.peer_challenge, 16);
    assert_memory_equal(bytes + 64, ack.proof, 32);
    assert_memory_equal(got.challenge, ack.challenge, 16);
    assert_memory_equal(got.peer_challenge, ack.peer_challenge, 16);
}

static void open_golden(void **state)
{
    struct session_open open;
    uint8_t bytes[sizeof(open_bytes)];
    assert_int_equal(session_open_get(open_bytes, sizeof(open_bytes), &open), 0);
    assert_int_equal(open.window, 262144);
    assert_int_equal(open.service_len, 4);
    assert_memory_equal(open.service, "echo", 4);
    assert_int_equal(open.metadata_len, 2);
    assert_memory_equal(open.metadata, "\xca\xfe", 2);
    assert_int_equal(session_open_put(bytes, &open), sizeof(bytes));
    assert_memory_equal(bytes, open_bytes, sizeof(bytes));
}

static void open_refuses_lengths(void **state)
{
    static uint8_t bytes[8 + 256 + 1025];
    struct session_open open;
    bytes[4] = 0;
    assert_int_equal(session_open_get(bytes, 8, &open), -EPROTO); /* no service */
    bytes[4] = 0, bytes[5] = 1;
    assert_int_equal(session_open_get(bytes, 8 + 256, &open), -EPROTO);
    bytes[4] = 255, bytes[5] = 0, bytes[6] = 1, bytes[7] = 4;
    assert_int_equal(session_open_get(bytes, 8 + 255 + 1025, &open), -EPROTO);
    bytes[6] = 0;
    assert_int_equal(session_open_get(bytes, 8 + 255 + 1024, &open), 0);
}

static void credit_golden(void **state)
{
    struct session_credit credit;
    uint8_t bytes[SESSION_CREDIT_LEN];
    assert_int_equal(session_credit_get(credit_bytes, sizeof(credit_bytes), &credit), 0);
    assert_true(credit.consumed == 0x1122334455667788 && credit.window == 65536);
    assert_int_equal(session_credit_put(bytes, &credit), sizeof(bytes));
    assert_memory_equal(bytes, credit_bytes, sizeof(bytes));
}

static void numbers_golden(void **state)
{
    uint8_t bytes[8];
    uint32_t u32;
    uint64_t u64;
    assert_int_equal(session_u32_put(bytes, 0x01020304), 4);
    assert_memory_equal(bytes, "\x04\x03\x02\x01", 4);
    assert_int_equal(session_u32_get(bytes, 4, &u32), 0);
    assert_int_equal(u32, 0x01020304);
    assert_int_equal(session_u64_put(bytes, 0x0102030405060708), 8);
    assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_int_equal(session_u64_get(bytes, 8, &u64), 0);
    assert_true(u64 == 0x0102030405060708);
}

/* Every decoder, at every length but its own. */
static void refuses_every_other_length(void **state)
{
    static uint8_t bytes[128];
    struct session_hello hello;
    struct session_hello_ack ack;
    struct session_open open;
    struct session_credit credit;
    uint32_t u32;
    uint64_t u64;
    memcpy(bytes, hello_bytes, sizeof(hello_bytes));
    for (size_t len = 0; len < sizeof(bytes); len++) {
        assert_int_equal(session_hello_get(bytes, len, &hello), len == 24 ? 0 : -EPROTO);
        assert_int_equal(session_hello_ack_get(bytes, len, &ack), len == 96 ? 0 : -EPROTO);
        assert_int_equal(session_credit_get(bytes, len, &credit), len == 12 ? 0 : -EPROTO);
        assert_int_equal(session_u32_get(bytes, len, &u32), len == 4 ? 0 : -EPROTO);
        assert_int_equal(session_u64_get(bytes, len, &u64), len == 8 ? 0 : -EPROTO);
    }
    memcpy(bytes, open_bytes, sizeof(open_bytes));
    for (size_t len = 0; len < sizeof(bytes); len++)
        assert_int_equal(session_open_get(bytes, len, &open),
                         len == sizeof(open_bytes) ? 0 : -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(header_golden),        TEST(hello_golden),   TEST(hello_refuses_what_is_none),
        TEST(hello_ack_round_trip), TEST(open_golden),    TEST(open_refuses_lengths),
        TEST(credit_golden),        TEST(numbers_golden), TEST(refuses_every_other_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
