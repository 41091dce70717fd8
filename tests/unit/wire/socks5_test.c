// SPDX-License-Identifier: BSD-3-Clause
#include "wire/socks5.h"

#include "support.h"

#include <errno.h>
#include <string.h>

#define NAME      "\5\1\0\3\7example\0\120"
#define NUMBER4   "\5\1\0\1\177\0\0\1\37\220"
#define NUMBER6   "\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\26"
#define LEN(text) (sizeof(text) - 1)

static void greeting_of_a_client_that_needs_no_password(void **state)
{
    enum socks5_method method;
    static const char greeting[] = "\5\2\2\0more";
    assert_int_equal(socks5_get_greeting(greeting, LEN(greeting), &method), 4);
    assert_int_equal(method, SOCKS5_NO_AUTHENTICATION);
    for (size_t len = 0; len < 4; len++)
        assert_int_equal(socks5_get_greeting(greeting, len, &method), -EAGAIN);
}

static void greeting_without_a_method_of_ours(void **state)
{
    enum socks5_method method;
    assert_int_equal(socks5_get_greeting("\5\1\2", 3, &method), 3);
    assert_int_equal(method, SOCKS5_NO_ACCEPTABLE);
    assert_int_equal(socks5_get_greeting("\5\0", 2, &method), 2);
    assert_int_equal(method, SOCKS5_NO_ACCEPTABLE);
}

static void greeting_of_another_protocol(void **state)
{
    enum socks5_method method;
    assert_int_equal(socks5_get_greeting("\4\1", 2, &method), -EPROTO);
    assert_int_equal(socks5_get_greeting("GET /", 5, &method), -EPROTO);
}

static void check(const char *bytes, size_t len, const char *host, uint16_t port)
{
    struct socks5_request request;
    enum socks5_reply reply;
    char ahead[64];
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(socks5_get_request(bytes, cut, &request, &reply), -EAGAIN);
    memcpy(ahead, bytes, len);
    memcpy(ahead + len, "HELLO", sizeof("HELLO"));
    assert_int_equal(socks5_get_request(ahead, len + 5, &request, &reply), len);
    assert_string_equal(request.host, host);
    assert_int_equal(request.port, port);
}

static void requests(void **state)
{
    check(NAME, LEN(NAME), "example", 80);
    check(NUMBER4, LEN(NUMBER4), "127.0.0.1", 8080);
    check(NUMBER6, LEN(NUMBER6), "::1", 22);
}

static void refuse(const char *bytes, size_t len, enum socks5_reply expected)
{
    struct socks5_request request;
    enum socks5_reply reply = SOCKS5_SUCCEEDED;
    assert_int_equal(socks5_get_request(bytes, len, &request, &reply), -EPROTO);
    assert_int_equal(reply, expected);
}

static void requests_that_are_refused(void **state)
{
    refuse("\4\1\0\1", 4, SOCKS5_FAILURE);
    refuse("\5\2\0\1", 4, SOCKS5_COMMAND_UNKNOWN); /* BIND */
    refuse("\5\3\0\1", 4, SOCKS5_COMMAND_UNKNOWN); /* UDP ASSOCIATE */
    refuse("\5\1\0\2", 4, SOCKS5_ADDRESS_UNKNOWN);
    refuse("\5\1\0\3\0\0\120", 7, SOCKS5_ADDRESS_UNKNOWN);       /* no name */
    refuse("\5\1\0\3\3a\0b\0\120", 10, SOCKS5_ADDRESS_UNKNOWN);  /* a NUL in it */
    refuse("\5\1\0\3\5a:1:2\0\120", 12, SOCKS5_ADDRESS_UNKNOWN); /* more than a name */
}

static void answers(void **state)
{
    uint8_t method[SOCKS5_METHOD_LEN], reply[SOCKS5_REPLY_LEN];
    socks5_put_method(SOCKS5_NO_ACCEPTABLE, method);
    assert_memory_equal(method, "\5\377", 2);
    socks5_put_reply(SOCKS5_REFUSED, reply);
    assert_memory_equal(reply, "\5\5\0\1\0\0\0\0\0\0", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(greeting_of_a_client_that_needs_no_password),
        TEST(greeting_without_a_method_of_ours),
        TEST(greeting_of_another_protocol),
        TEST(requests),
        TEST(requests_that_are_refused),
        TEST(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
