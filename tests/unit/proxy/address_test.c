// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/address.h"

#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

static void round_trip(const char *text)
{
    struct address address;
    struct ob_fault fault = {0};
    char back[ADDRESS_TEXT_MAX];
    assert_int_equal(address_parse(text, &address, &fault), 0);
    address_format(&address, back);
    assert_string_equal(back, text);
}

static void texts_come_back_as_they_were(void **state)
{
    round_trip("tcp:127.0.0.1:80");
    round_trip("tcp:[::1]:65535");
    round_trip("tcp:example.org:0");
    round_trip("unix:/run/with:colon");
    round_trip("unix:@abstract");
    round_trip("vsock:4294967295:4294967295");
}

static void refuse(const char *text)
{
    struct address address;
    struct ob_fault fault = {0};
    assert_int_equal(address_parse(text, &address, &fault), -EINVAL);
    assert_int_equal(fault.code, -EINVAL);
}

static void texts_that_are_no_address(void **state)
{
    static const char *const texts[] = {
        "",           "tcp:",           "tcp:host",           "tcp::80",
        "tcp:host:",  "tcp:host:65536", "tcp:host:+1",        "tcp:host:1x",
        "tcp:::1:80", "tcp:[::1]80",    "tcp:[::1:80",        "unix:",
        "vsock:3",    "vsock:host:3",   "vsock:4294967296:3", "udp:host:3",
    };
    char path[5 + 109] = "unix:", name[4 + 254 + 4] = "tcp:";
    memset(path + 5, 'x', sizeof(path) - 6);
    path[sizeof(path) - 1] = '\0';
    memset(name + 4, 'x', 254);
    memcpy(name + 4 + 254, ":1", sizeof(":1"));
    refuse(path);
    refuse(name);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refuse(texts[i]);
}

static void listen_at(const char *text, const char *expected)
{
    struct address address;
    struct ob_fault fault = {0};
    char back[ADDRESS_TEXT_MAX];
    assert_int_equal(address_parse_listen(text, &address, &fault), 0);
    address_format(&address, back);
    assert_string_equal(back, expected);
}

static void listening_is_for_this_machine_alone_unless_said(void **state)
{
    struct address address;
    struct ob_fault fault = {0};
    listen_at("8080", "tcp:127.0.0.1:8080");
    listen_at("localhost:8080", "tcp:127.0.0.1:8080");
    listen_at("*:8080", "tcp:[::]:8080");
    listen_at("0.0.0.0:1", "tcp:0.0.0.0:1");
    listen_at("[::1]:1", "tcp:[::1]:1");
    listen_at("unix:/x", "unix:/x");
    assert_int_equal(address_parse_listen("example.org:80", &address, &fault), -EINVAL);
    assert_int_equal(address_parse_listen("70000", &address, &fault), -EINVAL);
}

static void kernel_addresses(void **state)
{
    struct address address, back;
    struct ob_fault fault = {0};
    struct sockaddr_storage kernel;
    address_parse("tcp:10.1.2.3:4567", &address, &fault);
    assert_true(address_to_kernel(&address, &kernel) > 0);
    address_from_kernel(&kernel, &back);
    assert_string_equal(back.name, "10.1.2.3");
    assert_int_equal(back.port, 4567);
    address_parse("tcp:[fe80::1]:1", &address, &fault);
    assert_true(address_to_kernel(&address, &kernel) > 0);
    address_from_kernel(&kernel, &back);
    assert_string_equal(back.name, "fe80::1");
    address_parse("tcp:example.org:1", &address, &fault);
    assert_int_equal(address_to_kernel(&address, &kernel), -ENOENT);
    address_parse("unix:@name", &address, &fault);
    assert_int_equal(address_to_kernel(&address, &kernel), sizeof(sa_family_t) + 5);
    assert_memory_equal(((struct sockaddr_un *)&kernel)->sun_path, "\0name", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts_come_back_as_they_were),
        TEST(texts_that_are_no_address),
        TEST(listening_is_for_this_machine_alone_unless_said),
        TEST(kernel_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
