// SPDX-License-Identifier: BSD-3-Clause
/* The device against a driver without rings; its host's sockets are real. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "credit.h"
#include "fake/vsock_driver.h"
#include "support.h"

#define GUEST 1000u
#define HOST  80u

static struct driver driver;

/* A connection that the guest has made; the host's end of it. */
static int connected(uint32_t guest_port, int type)
{
    int ends[2];
    struct packet request = {.src_cid = DRIVER_CID,
                             .dst_cid = VSOCK_CID_HOST,
                             .src_port = guest_port,
                             .dst_port = HOST,
                             .type = type == SOCK_STREAM ? PACKET_STREAM : PACKET_SEQPACKET,
                             .op = PACKET_REQUEST,
                             .buf_alloc = 256 << 10};
    driver_send(&driver, &request, NULL, 0);
    assert_int_equal(driver.dialled_port, HOST);
    assert_int_equal(driver.dialled_type, request.type);
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    vsock_dialled(driver.vsock, driver.call, ends[0]);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_RESPONSE);
    assert_int_equal(got.header.src_cid, VSOCK_CID_HOST);
    assert_int_equal(got.header.dst_cid, DRIVER_CID);
    assert_int_equal(got.header.src_port, HOST);
    assert_int_equal(got.header.dst_port, guest_port);
    assert_int_equal(got.header.buf_alloc, 256 << 10);
    return ends[1];
}

static void expect_op(enum packet_op op)
{
    driver_turn(&driver);
    assert_int_equal(driver_next(&driver).header.op, op);
}

static void expect_nothing(void)
{
    driver_turn(&driver);
    assert_int_equal(driver_next(&driver).header.op, 0);
}

static void expect_text(int fd, const char *text)
{
    char bytes[256] = "";
    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), strlen(text));
    assert_string_equal(bytes, text);
}

static void test_bytes_both_ways(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "hello", 5);
    expect_text(host, "hello");
    assert_int_equal(send(host, "world", 5, 0), 5);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_RW);
    assert_int_equal(got.header.len, 5);
    assert_int_equal(got.header.fwd_cnt, 5);
    assert_memory_equal(got.payload, "world", 5);
    expect_nothing();
    close(host);
    driver_end(&driver);
}

static void test_the_host_refuses(void **state)
{
    driver_begin(&driver, 8);
    driver.dial_error = -ENOENT;
    driver_say(&driver, PACKET_REQUEST, GUEST, HOST, NULL, 0);
    expect_op(PACKET_RST);
    driver.dial_error = 0;
    driver_say(&driver, PACKET_REQUEST, GUEST, HOST, NULL, 0);
    vsock_dialled(driver.vsock, driver.call, -ECONNREFUSED);
    expect_op(PACKET_RST);
    driver_say(&driver, PACKET_REQUEST, GUEST, HOST, NULL, 0); /* the ports are free again */
    uint32_t call = driver.call;
    driver_say(&driver, PACKET_RST, GUEST, HOST, NULL, 0); /* and now the guest gives up */
    int late = dup(0);
    vsock_dialled(driver.vsock, call, late); /* which is closed */
    expect_nothing();
    driver_end(&driver);
}

static void test_too_many_connections(void **state)
{
    driver_begin(&driver, 1);
    int host = connected(GUEST, SOCK_STREAM);
    driver_say(&driver, PACKET_REQUEST, GUEST + 1, HOST, NULL, 0);
    expect_op(PACKET_RST);
    assert_int_equal(vsock_connect(driver.vsock, host, 22, PACKET_STREAM, true), -ENOBUFS);
    driver_say(&driver, PACKET_RST, GUEST, HOST, NULL, 0);
    assert_int_equal(recv(host, &(char){0}, 1, 0), 0);
    close(host);
    close(connected(GUEST + 2, SOCK_STREAM));
    driver_end(&driver);
}

/* What a slow host has not read waits, and no byte beyond the credit is taken. */
static void test_credit_of_the_guest(void **state)
{
    static uint8_t block[PACKET_PAYLOAD_MAX];
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    size_t sent = 0, got = 0;
    struct credit credit = {.peer_buf_alloc = 256 << 10};
    for (;;) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (uint8_t)((sent + i) % 251);
        uint32_t room = credit_room(&credit);
        uint32_t len = room < sizeof(block) ? room : (uint32_t)sizeof(block);
        if (len == 0)
            break;
        driver_say(&driver, PACKET_RW, GUEST, HOST, block, len);
        sent += len;
        credit.sent += len;
        driver_turn(&driver);
        for (struct driver_packet next = driver_next(&driver); next.header.op;
             next = driver_next(&driver))
            credit.peer_fwd_cnt = next.header.fwd_cnt;
    }
    assert_true(sent >= 256 << 10);
    while (got < sent) {
        uint8_t bytes[4096];
        ssize_t len = recv(host, bytes, sizeof(bytes), MSG_DONTWAIT);
        assert_true(len > 0);
        for (ssize_t i = 0; i < len; i++)
            assert_int_equal(bytes[i], (got + (size_t)i) % 251);
        got += (size_t)len;
        driver_turn(&driver);
    }
    bool told = false;
    for (struct driver_packet next = driver_next(&driver); next.header.op;
         next = driver_next(&driver))
        told |= next.header.op == PACKET_CREDIT_UPDATE;
    assert_true(told);
    close(host);
    driver_end(&driver);
}

static void test_a_guest_that_sends_without_credit(void **state)
{
    static uint8_t block[PACKET_PAYLOAD_MAX];
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    for (unsigned i = 0; i < 64; i++)
        driver_say(&driver, PACKET_RW, GUEST, HOST, block, sizeof(block));
    expect_op(PACKET_RST);
    expect_nothing();
    driver_say(&driver, PACKET_RW, GUEST, HOST, block, 1);
    expect_op(PACKET_RST);
    close(host);
    driver_end(&driver);
}

/* The device sends what the guest has room for, asks once, and goes on when it is told. An answer without
 * room brings no question but after a second: both ends would be busy with them otherwise. */
static void test_credit_of_the_device(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    struct packet update = {.src_cid = DRIVER_CID,
                            .dst_cid = VSOCK_CID_HOST,
                            .src_port = GUEST,
                            .dst_port = HOST,
                            .type = PACKET_STREAM,
                            .op = PACKET_CREDIT_UPDATE,
                            .buf_alloc = 3};
    driver_send(&driver, &update, NULL, 0);
    assert_int_equal(send(host, "abcdefg", 7, 0), 7);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.len, 3);
    assert_memory_equal(got.payload, "abc", 3);
    expect_op(PACKET_CREDIT_REQUEST);
    expect_nothing();
    update.fwd_cnt = 2;
    update.buf_alloc = 0; /* shrinks below what is in flight */
    driver_send(&driver, &update, NULL, 0);
    expect_nothing();
    update.buf_alloc = 16;
    update.fwd_cnt = 9; /* more than was ever sent */
    driver_send(&driver, &update, NULL, 0);
    expect_nothing();
    driver_pass_s(&driver, 1);
    expect_op(PACKET_CREDIT_REQUEST);
    expect_nothing();
    update.fwd_cnt = 3;
    driver_send(&driver, &update, NULL, 0);
    driver_turn(&driver);
    got = driver_next(&driver);
    assert_memory_equal(got.payload, "defg", 4);
    close(host);
    driver_end(&driver);
}

/* The host closes: all its bytes, then the end of both directions, and the guest's RST is the end. */
static void test_the_host_closes(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    assert_int_equal(send(host, "last", 4, 0), 4);
    close(host);
    expect_op(PACKET_RW);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_SHUTDOWN);
    assert_int_equal(got.header.flags, PACKET_NEITHER);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "late", 4); /* is not answered by RST */
    expect_nothing();
    driver_say(&driver, PACKET_RST, GUEST, HOST, NULL, 0);
    expect_nothing();
    close(connected(GUEST, SOCK_STREAM));
    driver_end(&driver);
}

/* The host ends its direction alone: the guest still sends. Then it goes, which a look finds. */
static void test_the_host_half_closes(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    shutdown(host, SHUT_WR);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_SHUTDOWN);
    assert_int_equal(got.header.flags, PACKET_NO_SEND);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "reply", 5);
    expect_text(host, "reply");
    close(host);
    driver_pass_s(&driver, 2);
    got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_SHUTDOWN);
    assert_int_equal(got.header.flags, PACKET_NEITHER);
    driver_end(&driver);
}

static void test_the_guest_half_closes(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "ask", 3);
    struct packet end = {.src_cid = DRIVER_CID,
                         .dst_cid = VSOCK_CID_HOST,
                         .src_port = GUEST,
                         .dst_port = HOST,
                         .type = PACKET_STREAM,
                         .op = PACKET_SHUTDOWN,
                         .flags = PACKET_NO_SEND,
                         .buf_alloc = 256 << 10};
    driver_send(&driver, &end, NULL, 0);
    expect_text(host, "ask");
    assert_int_equal(recv(host, &(char){0}, 1, 0), 0);
    assert_int_equal(send(host, "answer", 6, 0), 6);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_memory_equal(got.payload, "answer", 6);
    end.flags = PACKET_NO_RECEIVE;
    driver_send(&driver, &end, NULL, 0);
    expect_op(PACKET_RST);
    driver_turn(&driver);
    assert_int_equal(send(host, "x", 1, MSG_NOSIGNAL), -1);
    close(host);
    driver_end(&driver);
}

/* The guest closes at once, and a slow host still gets all bytes. */
static void test_the_guest_closes_before_the_host_reads(void **state)
{
    static uint8_t block[PACKET_PAYLOAD_MAX];
    size_t sent = 0, got = 0;
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    for (; sent < 256 << 10; sent += sizeof(block))
        driver_say(&driver, PACKET_RW, GUEST, HOST, block, sizeof(block));
    struct packet end = {.src_cid = DRIVER_CID,
                         .dst_cid = VSOCK_CID_HOST,
                         .src_port = GUEST,
                         .dst_port = HOST,
                         .type = PACKET_STREAM,
                         .op = PACKET_SHUTDOWN,
                         .flags = PACKET_NEITHER};
    driver_send(&driver, &end, NULL, 0);
    driver_turn(&driver);
    bool reset = false;
    for (struct driver_packet next = driver_next(&driver); next.header.op;
         next = driver_next(&driver))
        reset |= next.header.op == PACKET_RST;
    assert_true(reset);
    int other = connected(GUEST, SOCK_STREAM); /* the same ports, at once */
    ssize_t len;
    uint8_t bytes[4096];
    while ((len = recv(host, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        got += (size_t)len;
        driver_turn(&driver);
    }
    assert_int_equal(len, 0);
    assert_int_equal(got, sent);
    close(host);
    close(other);
    driver_end(&driver);
}

/* A host that never reads holds the rest for a minute, and its place no longer. */
static void test_a_closed_connection_is_drained_for_a_while(void **state)
{
    static uint8_t block[PACKET_PAYLOAD_MAX];
    driver_begin(&driver, 1);
    int host = connected(GUEST, SOCK_STREAM);
    for (size_t sent = 0; sent < 256 << 10; sent += sizeof(block))
        driver_say(&driver, PACKET_RW, GUEST, HOST, block, sizeof(block));
    struct packet end = {.src_cid = DRIVER_CID,
                         .dst_cid = VSOCK_CID_HOST,
                         .src_port = GUEST,
                         .dst_port = HOST,
                         .type = PACKET_STREAM,
                         .op = PACKET_SHUTDOWN,
                         .flags = PACKET_NEITHER};
    driver_send(&driver, &end, NULL, 0);
    driver_pass_s(&driver, 50);
    assert_int_equal(vsock_connect(driver.vsock, host, 22, PACKET_STREAM, true), -ENOBUFS);
    driver_pass_s(&driver, 20);
    assert_int_equal(vsock_connect(driver.vsock, dup(host), 22, PACKET_STREAM, true), 0);
    close(host);
    driver_end(&driver);
}

static void test_a_client_of_the_host(void **state)
{
    int ends[2];
    driver_begin(&driver, 8);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(vsock_connect(driver.vsock, ends[0], 22, PACKET_STREAM, true), 0);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_REQUEST);
    assert_int_equal(got.header.dst_port, 22);
    assert_int_equal(got.header.src_port, VSOCK_FIRST_CLIENT_PORT);
    assert_int_equal(send(ends[1], "early", 5, 0), 5);
    expect_nothing();
    driver_say(&driver, PACKET_RESPONSE, 22, VSOCK_FIRST_CLIENT_PORT, NULL, 0);
    expect_text(ends[1], "OK 1073741824\n");
    expect_op(PACKET_RW);
    close(ends[1]);
    driver_end(&driver);
}

static void test_a_client_that_the_guest_refuses_or_ignores(void **state)
{
    int ends[2];
    driver_begin(&driver, 8);
    for (unsigned ignored = 0; ignored < 2; ignored++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        assert_int_equal(vsock_connect(driver.vsock, ends[0], 22, PACKET_STREAM, true), 0);
        expect_op(PACKET_REQUEST);
        if (ignored)
            driver_pass_s(&driver, 11);
        else
            driver_say(&driver, PACKET_RST, 22, VSOCK_FIRST_CLIENT_PORT, NULL, 0);
        assert_int_equal(recv(ends[1], &(char){0}, 1, 0), 0);
        if (ignored)
            expect_op(PACKET_RST);
        close(ends[1]);
    }
    expect_nothing();
    driver_end(&driver);
}

static void test_messages(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_SEQPACKET);
    struct packet part = {.src_cid = DRIVER_CID,
                          .dst_cid = VSOCK_CID_HOST,
                          .src_port = GUEST,
                          .dst_port = HOST,
                          .len = 3,
                          .type = PACKET_SEQPACKET,
                          .op = PACKET_RW,
                          .buf_alloc = 256 << 10};
    driver_send(&driver, &part, "one", 3);
    assert_int_equal(recv(host, &(char){0}, 1, MSG_DONTWAIT), -1);
    part.flags = PACKET_END_OF_MESSAGE;
    driver_send(&driver, &part, "two", 3);
    driver_send(&driver, &part, "six", 3);
    expect_text(host, "onetwo");
    expect_text(host, "six");
    static uint8_t large[10000];
    memset(large, 'x', sizeof(large));
    assert_int_equal(send(host, large, sizeof(large), 0), sizeof(large));
    assert_int_equal(send(host, "y", 1, 0), 1);
    driver_turn(&driver);
    size_t len = 0;
    for (;;) {
        struct driver_packet got = driver_next(&driver);
        assert_int_equal(got.header.op, PACKET_RW);
        assert_int_equal(got.header.type, PACKET_SEQPACKET);
        len += got.header.len;
        if (got.header.flags & PACKET_END_OF_MESSAGE)
            break;
    }
    assert_int_equal(len, sizeof(large));
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.len, 1);
    assert_int_equal(got.header.flags, PACKET_END_OF_MESSAGE);
    close(host);
    driver_end(&driver);
}

/* A stream of messages has no gaps. */
static void test_a_message_that_the_guest_has_no_room_for(void **state)
{
    const struct packet update = {.src_cid = DRIVER_CID,
                                  .dst_cid = VSOCK_CID_HOST,
                                  .src_port = GUEST,
                                  .dst_port = HOST,
                                  .type = PACKET_SEQPACKET,
                                  .op = PACKET_CREDIT_UPDATE,
                                  .buf_alloc = 100};
    static const uint8_t large[101];
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_SEQPACKET);
    driver_send(&driver, &update, NULL, 0);
    assert_int_equal(send(host, "first", 5, 0), 5);
    assert_int_equal(send(host, large, sizeof(large), 0), sizeof(large));
    assert_int_equal(send(host, "behind", 6, 0), 6);
    expect_op(PACKET_RW);
    expect_op(PACKET_SHUTDOWN);
    expect_nothing();
    close(host);
    driver_end(&driver);
}

/* Nobody that has much to send keeps another from its turn. */
static void test_turns(void **state)
{
    static uint8_t block[100000];
    driver_begin(&driver, 8);
    int first = connected(GUEST, SOCK_STREAM), second = connected(GUEST + 1, SOCK_STREAM);
    driver.buffers = 0;
    assert_true(send(first, block, sizeof(block), 0) > 50000);
    driver_turn(&driver);
    assert_int_equal(send(second, "x", 1, 0), 1);
    driver_turn(&driver);
    driver_give(&driver, 3);
    driver_turn(&driver);
    bool seen = false;
    for (struct driver_packet got = driver_next(&driver); got.header.op; got = driver_next(&driver))
        seen |= got.header.dst_port == GUEST + 1;
    assert_true(seen);
    close(first);
    close(second);
    driver_end(&driver);
}

/* A guest that takes no packets is still served, and what it is owed is bounded. */
static void test_a_guest_that_takes_no_packets(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    driver.buffers = 0;
    for (uint32_t port = 0; port < 2000; port++)
        driver_say(&driver, PACKET_RW, 5000 + port, HOST, "x", 1);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "hello", 5);
    expect_text(host, "hello");
    driver_give(&driver, 4000);
    driver_turn(&driver);
    assert_int_equal(driver.num_got, 256);
    close(host);
    driver_end(&driver);
}

static void test_packets_that_are_none(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    static uint8_t bytes[100000];
    driver_send_raw(&driver, bytes, 0);
    driver_send_raw(&driver, bytes, PACKET_HEADER_LEN - 1);
    struct packet packet = {.src_cid = DRIVER_CID,
                            .dst_cid = VSOCK_CID_HOST,
                            .src_port = GUEST,
                            .dst_port = HOST,
                            .len = 10,
                            .type = PACKET_STREAM,
                            .op = PACKET_RW};
    driver_send(&driver, &packet, "short", 5);
    expect_op(PACKET_RST);
    assert_int_equal(recv(host, &(char){0}, 1, 0), 0);
    close(host);
    host = connected(GUEST, SOCK_STREAM);
    packet.len = PACKET_PAYLOAD_MAX + 1;
    driver_send(&driver, &packet, bytes, PACKET_PAYLOAD_MAX + 1);
    expect_op(PACKET_RST);
    packet.len = 0;
    packet.src_cid = 9; /* another guest's */
    driver_send(&driver, &packet, NULL, 0);
    expect_nothing();
    packet.src_cid = DRIVER_CID;
    packet.dst_cid = 4; /* is answered in the name of whom it was for */
    driver_send(&driver, &packet, NULL, 0);
    driver_turn(&driver);
    struct driver_packet got = driver_next(&driver);
    assert_int_equal(got.header.op, PACKET_RST);
    assert_int_equal(got.header.src_cid, 4);
    packet.dst_cid = VSOCK_CID_HOST;
    packet.type = 9;
    driver_send(&driver, &packet, NULL, 0);
    expect_op(PACKET_RST);
    packet.op = PACKET_RST; /* which is never answered */
    driver_send(&driver, &packet, NULL, 0);
    expect_nothing();
    packet.type = PACKET_STREAM;
    packet.op = 77;
    driver_send(&driver, &packet, NULL, 0);
    expect_op(PACKET_RST);
    close(host);
    driver_end(&driver);
}

/* A guest that has been reset meanwhile answers RST, and one that was paused its credit. */
static void test_queues_stop_and_start_again(void **state)
{
    driver_begin(&driver, 8);
    int kept = connected(GUEST, SOCK_STREAM), lost = connected(GUEST + 1, SOCK_STREAM);
    driver_restart(&driver);
    expect_op(PACKET_CREDIT_REQUEST);
    expect_op(PACKET_CREDIT_REQUEST);
    driver_say(&driver, PACKET_CREDIT_UPDATE, GUEST, HOST, NULL, 0);
    driver_say(&driver, PACKET_RST, GUEST + 1, HOST, NULL, 0);
    assert_int_equal(recv(lost, &(char){0}, 1, 0), 0);
    driver_say(&driver, PACKET_RW, GUEST, HOST, "hello", 5);
    expect_text(kept, "hello");
    expect_nothing();
    close(kept);
    close(lost);
    driver_end(&driver);
}

static void test_a_reset_ends_all(void **state)
{
    driver_begin(&driver, 8);
    int host = connected(GUEST, SOCK_STREAM);
    driver_reset(&driver);
    assert_int_equal(recv(host, &(char){0}, 1, 0), 0);
    close(host);
    close(connected(GUEST, SOCK_STREAM));
    driver_end(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_both_ways),
        TEST(test_the_host_refuses),
        TEST(test_too_many_connections),
        TEST(test_credit_of_the_guest),
        TEST(test_a_guest_that_sends_without_credit),
        TEST(test_credit_of_the_device),
        TEST(test_the_host_closes),
        TEST(test_the_host_half_closes),
        TEST(test_the_guest_half_closes),
        TEST(test_the_guest_closes_before_the_host_reads),
        TEST(test_a_closed_connection_is_drained_for_a_while),
        TEST(test_a_client_of_the_host),
        TEST(test_a_client_that_the_guest_refuses_or_ignores),
        TEST(test_messages),
        TEST(test_a_message_that_the_guest_has_no_room_for),
        TEST(test_turns),
        TEST(test_a_guest_that_takes_no_packets),
        TEST(test_packets_that_are_none),
        TEST(test_queues_stop_and_start_again),
        TEST(test_a_reset_ends_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
