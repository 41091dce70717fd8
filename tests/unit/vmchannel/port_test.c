// SPDX-License-Identifier: BSD-3-Clause
/* Sessions of a port, with a model of the stock driver and real sockets. */
#include "port.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake/virtio.h"
#include "guest.h"

#define MANY 100000

static struct guest guest; /* large */
static uint8_t sent[MANY], got[MANY + 4096];

static void send_all(int fd, const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t put = send(fd, (const uint8_t *)bytes + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0)
            at += (size_t)put;
        else
            assert_int_equal(errno, EAGAIN);
        guest_turn(&guest);
    }
}

static void expect_guest(const char *text)
{
    size_t len = strlen(text), had = 0;
    while (had < len) {
        int read = guest_read(&guest, got + had, len - had);
        assert_true(read > 0);
        had += (size_t)read;
    }
    assert_memory_equal(got, text, len);
}

static void expect_host(int fd, const char *text, bool end)
{
    bool ended;
    size_t len = host_read(&guest, fd, got, sizeof(got), &ended);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(got, text, len);
    assert_int_equal(ended, end);
}

static void write_guest(const char *text)
{
    assert_int_equal(guest_write(&guest, text, strlen(text)), (int)strlen(text));
    guest_turn(&guest);
}

/* A descriptor that reads of the port's end, or of its removal. */
static int read_end(void)
{
    char byte;
    int end = guest_read(&guest, &byte, 1);
    return end;
}

static void both_ways(enum port_mode mode)
{
    guest_start(&guest, mode, "listen");
    int host = host_connect(&guest);
    guest_turn(&guest);
    assert_true(guest.host_connected);
    send_all(host, "early", 5); /* kept until the guest opens the port */
    guest_open(&guest);
    expect_guest("early");
    write_guest("answer");
    expect_host(host, "answer", false);
    close(host);
    assert_int_equal(read_end(), 0);
    guest_stop(&guest);
}

static void test_both_ways(void **state)
{
    for (enum port_mode mode = PORT_REPLUG; mode <= PORT_LEGACY; mode++)
        both_ways(mode);
}

/* The host writes more than the rings hold, and closes; the guest is slow; another peer waits. */
static void slow_guest(enum port_mode mode)
{
    guest_start(&guest, mode, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 7 + (i >> 8));
    send_all(host, sent, sizeof(sent));
    close(host);
    int next = host_connect(&guest);
    size_t had = 0;
    int read;
    while ((read = guest_read(&guest, got, 1000)) != 0 && had <= sizeof(sent)) {
        if (read == GUEST_WOULD_WAIT) {
            guest_turn(&guest);
            continue;
        }
        assert_true(read > 0);
        assert_memory_equal(got, sent + had, (size_t)read);
        had += (size_t)read;
        if (had % 5000 < 1000 && had < sizeof(sent))
            guest_pass(&guest, 2000); /* less than the device's patience */
    }
    assert_int_equal(had, sizeof(sent));
    assert_int_equal(read, 0);
    close(next);
    guest_stop(&guest);
}

static void test_slow_guest_reads_all(void **state)
{
    slow_guest(PORT_REPLUG);
    slow_guest(PORT_HANDSHAKE);
}

/* A program that holds the port open learns of the break before it reads a byte of the next peer. */
static void test_replug(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int first = host_connect(&guest);
    send_all(first, "first", 5);
    write_guest("stale of the first session");
    close(first);
    int second = host_connect(&guest);
    send_all(second, "second", 6);
    guest_turn(&guest);
    assert_true(guest.breaks > 0);
    assert_int_equal(guest.lives, 1); /* there is unread input */
    expect_guest("first");
    assert_int_equal(read_end(), 0);
    guest_pass(&guest, 900); /* it might close the port itself */
    assert_true(guest.plugged);
    guest_pass(&guest, 200);
    assert_false(guest.plugged);
    assert_int_equal(read_end(), GUEST_NO_PORT);
    guest_pass(&guest, 800);
    assert_false(guest.plugged);
    guest_pass(&guest, 300);
    assert_true(guest.plugged);
    assert_string_equal(guest.name, "org.outboard.test");
    assert_int_equal(read_end(), GUEST_NO_PORT);
    guest_close(&guest);
    guest_open(&guest);
    expect_guest("second");
    write_guest("new");
    expect_host(second, "new", false);
    close(second);
    guest_stop(&guest);
}

/* A port that nobody opens after a replug is replugged once more, and not again. */
static void test_replug_twice(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    close(host_connect(&guest));
    guest_turn(&guest);
    int second = host_connect(&guest);
    guest_turn(&guest);
    guest_pass(&guest, 2200);
    assert_int_equal(guest.lives, 2);
    guest_pass(&guest, 8500);
    assert_int_equal(guest.lives, 2);
    guest_pass(&guest, 3000);
    assert_int_equal(guest.lives, 3);
    guest_pass(&guest, 60000);
    assert_int_equal(guest.lives, 3);
    guest_close(&guest);
    guest_open(&guest);
    send_all(second, "x", 1);
    expect_guest("x");
    close(second);
    guest_stop(&guest);
}

static void test_handshake(void **state)
{
    guest_start(&guest, PORT_HANDSHAKE, "listen");
    guest_open(&guest);
    int first = host_connect(&guest);
    send_all(first, "one", 3);
    close(first);
    int second = host_connect(&guest);
    send_all(second, "two", 3);
    guest_pass(&guest, 5000);
    expect_guest("one");
    assert_int_equal(read_end(), 0);
    guest_pass(&guest, 5000);
    assert_int_equal(read_end(), 0);
    guest_close(&guest);
    guest_open(&guest);
    expect_guest("two");
    assert_int_equal(guest.lives, 1);
    close(second);
    assert_int_equal(read_end(), 0);
    second = host_connect(&guest); /* held for as long as the device has patience */
    guest_pass(&guest, 29000);
    expect_host(second, "", false);
    guest_pass(&guest, 2000);
    expect_host(second, "", true);
    close(second);
    guest_stop(&guest);
}

static void test_legacy_goes_on(void **state)
{
    guest_start(&guest, PORT_LEGACY, "listen");
    guest_open(&guest);
    int first = host_connect(&guest);
    send_all(first, "first", 5);
    close(first);
    int second = host_connect(&guest);
    send_all(second, "second", 6);
    expect_guest("firstsecond");
    close(second);
    guest_stop(&guest);
}

/* The guest closes and opens again: the host reads the rest, then the end. */
static void test_guest_reopens(void **state)
{
    bool ended;
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    write_guest("first");
    guest_close(&guest);
    guest_open(&guest);
    expect_host(host, "first", true);
    close(host);
    int next = host_connect(&guest);
    guest_turn(&guest);
    write_guest("second");
    expect_host(next, "second", false);
    guest_close(&guest);
    assert_int_equal(host_read(&guest, next, got, sizeof(got), &ended), 0);
    assert_true(ended);
    close(next);
    guest_stop(&guest);
}

/* As above, with a host that reads nothing while the guest writes as much as its ring takes. */
static void test_guest_reopens_before_a_slow_host_has_read(void **state)
{
    static uint8_t block[32768];
    static uint8_t all[4u << 20];
    size_t written = 0;
    bool ended;
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    memset(block, '1', sizeof(block));
    while (guest_write(&guest, block, sizeof(block)) > 0) {
        written += sizeof(block);
        guest_turn(&guest);
    }
    guest_close(&guest);
    guest_open(&guest);
    fake_virtio_add_readable(port_output_queue(GUEST_PORT), "2", 1); /* of nobody's session yet */
    size_t len = host_read(&guest, host, all, sizeof(all), &ended);
    assert_int_equal(len, written);
    assert_true(ended);
    assert_null(memchr(all, '2', len));
    close(host);
    host = host_connect(&guest);
    expect_host(host, "2", false);
    close(host);
    guest_stop(&guest);
}

/* All of a session comes before the device has looked at it. */
static void test_short_session(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    int host = host_connect(&guest);
    guest_turn(&guest);
    assert_true(guest.host_connected);
    guest_open_and_close_with(&guest, "short");
    expect_host(host, "short", true);
    close(host);
    guest_stop(&guest);
}

static void test_reset_ends_the_session(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    write_guest("last words");
    fake_virtio_reset();
    expect_host(host, "last words", true);
    close(host);
    host = host_connect(&guest);
    send_all(host, "boot", 4);
    guest_load(&guest, 32);
    assert_int_equal(guest.lives, 2);
    guest_open(&guest);
    expect_guest("boot");
    close(host);
    guest_stop(&guest);
}

/* The reset comes while the rest does not fit into the peer's socket. */
static void test_reset_keeps_the_rest(void **state)
{
    static uint8_t block[32768];
    static uint8_t all[4u << 20];
    size_t written = 0;
    bool ended;
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    while (guest_write(&guest, block, sizeof(block)) > 0) {
        written += sizeof(block);
        guest_turn(&guest);
    }
    fake_virtio_reset();
    assert_int_equal(host_read(&guest, host, all, sizeof(all), &ended), written);
    assert_true(ended);
    close(host);
    guest_stop(&guest);
}

/* A peer that has gone before the guest opened the port: its bytes are delivered. */
static void test_peer_that_does_not_wait(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    close(host_connect(&guest));
    guest_turn(&guest);
    int host = host_connect(&guest);
    send_all(host, "note", 4);
    close(host);
    guest_turn(&guest);
    guest_open(&guest);
    expect_guest("note");
    assert_int_equal(read_end(), 0);
    guest_stop(&guest);
}

static void test_half_close(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    write_guest("greeting");
    send_all(host, "question", 8);
    shutdown(host, SHUT_WR);
    expect_guest("question");
    assert_int_equal(read_end(), 0);
    expect_host(host, "greeting", false);
    guest_pass(&guest, 1100);
    expect_host(host, "", true);
    close(host);
    guest_stop(&guest);
}

/* No more control buffers than one at a time: no message is lost. */
static void test_few_control_buffers(void **state)
{
    guest_start(&guest, PORT_HANDSHAKE, "listen");
    fake_virtio_reset();
    guest_load(&guest, 1);
    assert_true(guest.plugged);
    guest_open(&guest);
    for (unsigned i = 0; i < 20; i++) {
        int host = host_connect(&guest);
        send_all(host, "x", 1);
        close(host);
        expect_guest("x");
        assert_int_equal(read_end(), 0);
        guest_close(&guest);
        guest_open(&guest);
    }
    guest_stop(&guest);
}

static void test_pause(void **state)
{
    guest_start(&guest, PORT_REPLUG, "listen");
    guest_open(&guest);
    int host = host_connect(&guest);
    guest_turn(&guest);
    write_guest("before ");
    fake_virtio_pause(true);
    send_all(host, "while", 5);
    fake_virtio_pause(false);
    write_guest("behind");
    expect_guest("while");
    expect_host(host, "before behind", false);
    assert_int_equal(guest.lives, 1);
    close(host);
    guest_stop(&guest);
}

static void test_file(void **state)
{
    char text[32] = "";
    guest_start(&guest, PORT_REPLUG, "file");
    for (unsigned i = 0; i < 2; i++) {
        guest_turn(&guest);
        guest_open(&guest);
        guest_pass(&guest, 100);
        write_guest("line\n");
        guest_close(&guest);
    }
    FILE *file = fopen(guest.path, "re");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof(text), file), 10);
    assert_string_equal(text, "line\nline\n");
    fclose(file);
    guest_stop(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways),
        TEST(test_slow_guest_reads_all),
        TEST(test_replug),
        TEST(test_replug_twice),
        TEST(test_handshake),
        TEST(test_legacy_goes_on),
        TEST(test_guest_reopens),
        TEST(test_guest_reopens_before_a_slow_host_has_read),
        TEST(test_short_session),
        TEST(test_reset_ends_the_session),
        TEST(test_reset_keeps_the_rest),
        TEST(test_peer_that_does_not_wait),
        TEST(test_half_close),
        TEST(test_few_control_buffers),
        TEST(test_pause),
        TEST(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
