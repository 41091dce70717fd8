// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/channel_spec.h"

#include "support.h"

#include <errno.h>
#include <string.h>

#include "proxy/channel_open.h"

static void each_kind_is_understood(void **state)
{
    static const struct {
        const char *text;
        enum channel_kind kind;
        enum ob_channel framing;
    } cases[] = {
        {"virtio:org.outboard.proxy.0", CHANNEL_VIRTIO, OB_CHANNEL_LINE},
        {"serial:/dev/ttyS0", CHANNEL_SERIAL, OB_CHANNEL_LINE},
        {"serial:/dev/ttyS0:9600", CHANNEL_SERIAL, OB_CHANNEL_LINE},
        {"serial:/dev/ttyS0:9600,stream", CHANNEL_SERIAL, OB_CHANNEL_STREAM},
        {"unix:/run/vm", CHANNEL_CONNECT, OB_CHANNEL_STREAM},
        {"unix:/run/vm,line", CHANNEL_CONNECT, OB_CHANNEL_LINE},
        {"unix:/run/a,b", CHANNEL_CONNECT, OB_CHANNEL_STREAM},
        {"tcp:host:1", CHANNEL_CONNECT, OB_CHANNEL_STREAM},
        {"tcp:[::1]:1", CHANNEL_CONNECT, OB_CHANNEL_STREAM},
        {"vsock:2:1024", CHANNEL_CONNECT, OB_CHANNEL_STREAM},
        {"unix-listen:/run/vm,line", CHANNEL_LISTEN, OB_CHANNEL_LINE},
        {"tcp-listen:1", CHANNEL_LISTEN, OB_CHANNEL_STREAM},
        {"vsock-listen:1", CHANNEL_LISTEN, OB_CHANNEL_STREAM},
        {"fd:0", CHANNEL_FD, OB_CHANNEL_STREAM},
        {"stdio", CHANNEL_STDIO, OB_CHANNEL_STREAM},
        {"stdio,line", CHANNEL_STDIO, OB_CHANNEL_LINE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct channel_spec spec;
        struct ob_fault fault = {0};
        if (channel_spec_parse(cases[i].text, &spec, &fault) < 0)
            fail_msg("%s: %s", cases[i].text, fault.text);
        assert_int_equal(spec.kind, cases[i].kind);
        assert_int_equal(spec.framing, cases[i].framing);
        assert_string_equal(spec.text, cases[i].text);
    }
}

static void the_parts_are_taken_apart(void **state)
{
    struct channel_spec spec;
    assert_int_equal(channel_spec_parse("serial:/dev/ttyS1:57600", &spec, NULL), 0);
    assert_string_equal(spec.path, "/dev/ttyS1");
    assert_int_equal(spec.number, 57600);
    assert_int_equal(channel_spec_parse("virtio:port", &spec, NULL), 0);
    assert_string_equal(spec.path, "port");
    assert_int_equal(channel_spec_parse("fd:17", &spec, NULL), 0);
    assert_int_equal(spec.number, 17);
    assert_int_equal(channel_spec_parse("vsock:3:77", &spec, NULL), 0);
    assert_int_equal(spec.address.kind, ADDRESS_VSOCK);
    assert_int_equal(spec.address.cid, 3);
    assert_int_equal(spec.address.port, 77);
}

static void what_is_none_is_named(void **state)
{
    static const char *const cases[] = {
        "",         "pigeon:1",
        "virtio:",  "virtio:/dev/vport",
        "serial:",  "serial:/dev/ttyS0:fast",
        "fd:",      "fd:x",
        "fd:-1",    "fd:4294967296",
        "stdiox",   "serial:/dev/ttyS0:12345",
        "vsock:2",  "vsock-listen:",
        "tcp:host", "tcp-listen:0x1",
        "unix:",    "vsock-listen:4294967295",
        ",line",
    };
    char text[CHANNEL_TEXT_MAX + 10];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct channel_spec spec;
        struct ob_fault fault = {0};
        if (channel_spec_parse(cases[i], &spec, &fault) != -EINVAL)
            fail_msg("'%s' was taken", cases[i]);
        assert_true(strlen(fault.text) > 0);
    }
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "unix:/", 6);
    assert_int_equal(channel_spec_parse(text, &(struct channel_spec){0}, NULL), -EINVAL);
}

static void speeds_are_those_of_serial_lines(void **state)
{
    assert_true(channel_has_speed(9600) && channel_has_speed(115200) && channel_has_speed(4000000));
    assert_false(channel_has_speed(0) || channel_has_speed(9601));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_kind_is_understood),
        TEST(the_parts_are_taken_apart),
        TEST(what_is_none_is_named),
        TEST(speeds_are_those_of_serial_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
