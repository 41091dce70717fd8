// SPDX-License-Identifier: BSD-3-Clause
/* SOCKS5 clients of a -D listener, in pieces and with slips. */
#include "proxy/socks.h"

#include "lab.h"
#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALLOWED   "--allow-connect=127.0.0.1:*"
#define SUCCEEDED "\5\0\0\1\0\0\0\0\0\0"
#define DENIED    "\5\2\0\1\0\0\0\0\0\0"
#define REFUSED   "\5\5\0\1\0\0\0\0\0\0"
#define NO_METHOD "\5\377"
#define REPLY_LEN 10

/* A TCP socket at a free port of 127.0.0.1. */
static int listen_tcp(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* CONNECT to 127.0.0.1:port. */
static void put_request(uint8_t ret_bytes[10], uint16_t port)
{
    memcpy(ret_bytes, (const uint8_t[]){5, 1, 0, 1, 127, 0, 0, 1}, 8);
    ret_bytes[8] = (uint8_t)(port >> 8);
    ret_bytes[9] = (uint8_t)port;
}

static int greet(struct lab *lab)
{
    int client = lab_connect(lab, "socks");
    lab_send(client, "\5\1\0", 3);
    lab_expect(lab, client, "\5\0", 2);
    return client;
}

static void a_client_is_connected_with_what_it_sent_ahead(void **state)
{
    struct lab lab;
    uint8_t request[10 + 5] = {0};
    uint16_t port;
    int listener = listen_tcp(&port);
    lab_start(&lab, "-D unix:@/socks", ALLOWED);
    lab_until_up(&lab);
    int client = greet(&lab);
    put_request(request, port);
    memcpy(request + 10, "ahead", 5);
    lab_send(client, request, sizeof(request));
    int server = lab_accept(&lab, listener);
    lab_expect(&lab, client, SUCCEEDED, REPLY_LEN);
    lab_expect_text(&lab, server, "ahead");
    close(server);
    lab_expect_end(&lab, client);
    close(client);
    close(listener);
    lab_stop(&lab);
}

struct ticks {
    unsigned left;
};

static bool have_passed(void *argument)
{
    return ((struct ticks *)argument)->left-- == 0;
}

static void bytes_may_come_one_by_one(void **state)
{
    struct lab lab;
    uint8_t words[3 + 10] = {5, 1, 0};
    uint16_t port;
    int listener = listen_tcp(&port);
    lab_start(&lab, "-D unix:@/socks", ALLOWED);
    lab_until_up(&lab);
    put_request(words + 3, port);
    int client = lab_connect(&lab, "socks");
    for (size_t i = 0; i < sizeof(words); i++) {
        struct ticks ticks = {.left = 2};
        lab_send(client, words + i, 1);
        lab_until(&lab, have_passed, &ticks);
    }
    int server = lab_accept(&lab, listener);
    lab_expect(&lab, client, "\5\0" SUCCEEDED, 2 + REPLY_LEN);
    close(server);
    close(client);
    close(listener);
    lab_stop(&lab);
}

static void each_failure_has_its_reply(void **state)
{
    struct lab lab;
    uint8_t request[10];
    uint16_t port;
    close(listen_tcp(&port)); /* nobody is there */
    lab_start(&lab, "-D unix:@/socks", ALLOWED);
    lab_until_up(&lab);

    int client = greet(&lab);
    put_request(request, port);
    lab_send(client, request, sizeof(request));
    lab_expect(&lab, client, REFUSED, REPLY_LEN);
    lab_expect_end(&lab, client);
    close(client);

    client = greet(&lab);
    request[7] = 2; /* 127.0.0.2 is not allowed */
    lab_send(client, request, sizeof(request));
    lab_expect(&lab, client, DENIED, REPLY_LEN);
    lab_expect_end(&lab, client);
    close(client);

    client = lab_connect(&lab, "socks");
    lab_send(client, "\5\1\2", 3); /* with a password alone */
    lab_expect(&lab, client, NO_METHOD, 2);
    lab_expect_end(&lab, client);
    close(client);

    client = lab_connect(&lab, "socks");
    lab_send(client, "GET / HTTP/1.1\r\n", 16);
    lab_expect_end(&lab, client);
    close(client);
    lab_stop(&lab);
}

static bool has_no_socks(void *argument)
{
    return ((struct lab *)argument)->ends[LAB_OURS].proxy.socks.count == 0;
}

static void a_client_that_goes_is_forgotten(void **state)
{
    struct lab lab;
    lab_start(&lab, "-D unix:@/socks", ALLOWED);
    lab_until_up(&lab);
    int client = greet(&lab);
    assert_int_equal(lab.ends[LAB_OURS].proxy.socks.count, 1);
    close(client);
    lab_until(&lab, has_no_socks, &lab);
    client = greet(&lab); /* one that stays until the proxy ends */
    lab_stop(&lab);
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_is_connected_with_what_it_sent_ahead),
        TEST(bytes_may_come_one_by_one),
        TEST(each_failure_has_its_reply),
        TEST(a_client_that_goes_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
