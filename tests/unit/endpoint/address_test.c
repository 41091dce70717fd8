// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/address.h"

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
    round_trip("tcp:[fe80::1%eth0]:1");
    round_trip("tcp:under_score.example.org.:1");
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
        "",
        "tcp:",
        "tcp:host",
        "tcp::80",
        "tcp:host:",
        "tcp:host:65536",
        "tcp:host:+1",
        "tcp:host:1x",
        "tcp:::1:80",
        "tcp:[::1]80",
        "tcp:[::1:80",
        "unix:",
        "vsock:3",
        "vsock:host:3",
        "vsock:4294967296:3",
        "udp:host:3",
        "tcp:[]:80",
        "tcp:[host]:80",
        "tcp:[127.0.0.1]:80",
        "tcp:[::1%]:80",
        "tcp:a b:80",
        "tcp:a..b:80",
        "tcp:.a:80",
        "tcp:a/b:80",
        "tcp:1.2:80",
        "tcp:256.0.0.1:80",
        "tcp:10.0.0.1.:80",
        "unix:@",
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

static void refuse_target(const char *text, const char *reason)
{
    struct address address = {.port = 1};
    struct ob_fault fault = {0};
    assert_int_equal(address_parse_target(text, &address, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, reason));
    assert_int_equal(address.port, 1);
}

static void what_nothing_can_connect_to_is_refused_with_what_could_be_meant(void **state)
{
    struct address address;
    struct ob_fault fault = {0};
    refuse_target("tcp:host:0", "1 to 65535");
    refuse_target("tcp:*:80", "for listeners only");
    refuse_target("tcp:host:65536", "0 to 65535");
    refuse_target("tcp:[::g]:80", "or an IPv6 address");
    refuse_target("tcp:1.2.3.400:80", "or an IPv4 address");
    refuse_target("vsock:0:80", "expected 2 for the host");
    refuse_target("vsock:4294967295:80", "expected 2 for the host");
    refuse_target("vsock:3:4294967295", "below 4294967295");
    refuse_target("pigeon:3", "tcp:HOST:PORT, unix:PATH or vsock:CID:PORT");
    assert_int_equal(address_parse_target("vsock:1:80", &address, &fault), 0); /* this machine */
    assert_int_equal(address_parse_target("unix:@x", &address, &fault), 0);
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
        TEST(what_nothing_can_connect_to_is_refused_with_what_could_be_meant),
        TEST(listening_is_for_this_machine_alone_unless_said),
        TEST(kernel_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
