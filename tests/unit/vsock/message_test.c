// SPDX-License-Identifier: BSD-3-Clause
/* A message of the host that the guest has no room for, and what comes behind it. Neither end of the connection may
 * keep the device busy meanwhile. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake/vsock_driver.h"
#include "support.h"

#define GUEST 1000u
#define HOST  80u

static struct driver driver;

static void say(enum packet_op op, uint32_t flags, uint32_t buf_alloc, uint32_t fwd_cnt)
{
    const struct packet packet = {.src_cid = DRIVER_CID,
                                  .dst_cid = VSOCK_CID_HOST,
                                  .src_port = GUEST,
                                  .dst_port = HOST,
                                  .type = PACKET_SEQPACKET,
                                  .op = (uint16_t)op,
                                  .flags = flags,
                                  .buf_alloc = buf_alloc,
                                  .fwd_cnt = fwd_cnt};
    driver_send(&driver, &packet, NULL, 0);
}

static struct packet next_packet(void)
{
    driver_turn(&driver);
    return driver_next(&driver).header;
}

static void expect(enum packet_op op)
{
    assert_int_equal(next_packet().op, op);
}

/* A connection whose guest has got six of a message's twelve bytes, and has no room for more. */
static int stuck(void)
{
    int ends[2];
    driver_begin(&driver, 8);
    say(PACKET_REQUEST, 0, 16, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                     0);
    vsock_dialled(driver.vsock, driver.call, ends[0]);
    expect(PACKET_RESPONSE);
    assert_int_equal(send(ends[1], "0123456789", 10, 0), 10);
    assert_int_equal(next_packet().len, 10);
    assert_int_equal(send(ends[1], "abcdefghijkl", 12, 0), 12);
    const struct packet part = next_packet();
    assert_int_equal(part.len, 6);
    assert_int_equal(part.flags, 0);
    expect(PACKET_CREDIT_REQUEST);
    expect(PACKET_INVALID);
    return ends[1];
}

/* The guest sends a message to a host that has closed: the device knows then that nobody reads it. */
static void find_the_host_closed(void)
{
    const struct packet packet = {.src_cid = DRIVER_CID,
                                  .dst_cid = VSOCK_CID_HOST,
                                  .src_port = GUEST,
                                  .dst_port = HOST,
                                  .len = 1,
                                  .type = PACKET_SEQPACKET,
                                  .op = PACKET_RW,
                                  .flags = PACKET_END_OF_MESSAGE,
                                  .buf_alloc = 16};
    driver_send(&driver, &packet, "x", 1);
}

/* The end waits for the message. The device asks for room once, not for as long as it waits. */
static void test_an_end_behind_a_message(void **state)
{
    close(stuck());
    find_the_host_closed();
    expect(PACKET_INVALID);
    say(PACKET_CREDIT_UPDATE, 0, 16, 0); /* no room */
    expect(PACKET_INVALID);
    say(PACKET_CREDIT_UPDATE, 0, 16, 16);
    const struct packet rest = next_packet();
    assert_int_equal(rest.len, 6);
    assert_int_equal(rest.flags, PACKET_END_OF_MESSAGE);
    assert_int_equal(next_packet().op, PACKET_SHUTDOWN);
    driver_end(&driver);
}

/* The guest reads no more: the rest of the message is for nobody, and the end need not wait for it. */
static void test_the_guest_ends_its_reading_within_a_message(void **state)
{
    close(stuck());
    find_the_host_closed();
    expect(PACKET_INVALID);
    say(PACKET_SHUTDOWN, PACKET_NO_RECEIVE, 16, 0);
    const struct packet end = next_packet();
    assert_int_equal(end.op, PACKET_SHUTDOWN);
    assert_true(end.flags & PACKET_NO_RECEIVE);
    expect(PACKET_INVALID);
    driver_end(&driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_end_behind_a_message),
        cmocka_unit_test(test_the_guest_ends_its_reading_within_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
