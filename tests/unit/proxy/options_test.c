// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/options.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* text is cut into words, to which the options then point. */
static int parse(struct proxy_options *ret_options, struct ob_fault *fault, char *text)
{
    char *argv[48] = {(char *)"proxy"};
    int argc = 1;
    char *rest;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    return proxy_options_parse(argc, argv, ret_options, fault);
}

static void no_option_is_a_guest_of_its_default_port(void **state)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    char text[] = "";
    assert_int_equal(parse(&options, &fault, text), PROXY_RUN);
    assert_int_equal(options.channel.kind, CHANNEL_VIRTIO);
    assert_int_equal(options.channel.framing, OB_CHANNEL_LINE);
    assert_string_equal(options.channel.path, CHANNEL_DEFAULT_PORT);
    assert_true(options.trust_peer);
    proxy_options_done(&options);
}

static void any_option_and_the_peer_is_trusted_no_more(void **state)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    char text[] = "--keepalive=1";
    assert_int_equal(parse(&options, &fault, text), PROXY_RUN);
    assert_false(options.allow_run || options.trust_peer);
    proxy_options_done(&options);
}

static void options_of_every_kind(void **state)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    char text[] = "-c unix:/x,line -L 80:web -L unix:/s:db -D 1080 --remote=*:81:ssh "
                  "--remote-dynamic 1081 -s web=tcp:h:1 --service=sh=pty:sh --allow-connect *:443 "
                  "--deny-connect 10.0.0.0/8:* --allow-listen *:80 --allow-run --window=1000 -v";
    assert_int_equal(parse(&options, &fault, text), PROXY_RUN);
    assert_int_equal(options.channel.kind, CHANNEL_CONNECT);
    assert_int_equal(options.channel.framing, OB_CHANNEL_LINE);
    assert_string_equal(options.channel.address.name, "/x");
    assert_int_equal(options.local.count, 3);
    assert_string_equal(options.local.forward[0].service, "web");
    assert_string_equal(options.local.forward[1].listen.name, "/s");
    assert_string_equal(options.local.forward[2].service, "");
    assert_int_equal(options.remote.count, 2);
    assert_string_equal(options.remote.forward[0].listen.name, "::");
    assert_int_equal(options.services.count, 2);
    assert_int_equal(options.services.service[1].kind, SERVICE_TERMINAL);
    assert_string_equal(options.services.service[1].command, "sh");
    assert_int_equal(options.connect.count, 2);
    assert_int_equal(options.listen.count, 1);
    assert_true(options.allow_run && options.verbose);
    assert_int_equal(options.window, 1000);
    proxy_options_done(&options);
}

static void faults_name_the_option(void **state)
{
    static const char *const lines[] = {
        "--local=80",
        "--dynamic=80:web",
        "--local=x:y:web",
        "--channel=pigeon:1",
        "--service=a:b=tcp:h:1",
        "--service=@run=exec:sh",
        "--service=a",
        "--window=0",
        "--key-file=/none",
        "--allow-connect=h",
        "--channel=serial:/x:y",
        "--keepalive=x",
        "--local=80:tcp:host:99999",
        "--local=80:unix:/x",
        "--local=80:@run",
        "--local=99999:web",
        "--remote=80:tcp::1",
        "--service=a=tcp:host:0",
        "--service=a=udp:host:1",
        "--service=a=exec:",
        "--service=a=pty: ",
        "--channel=tcp:[::1:80",
        "--channel=vsock:0:1",
        "--channel=vsock-listen:4294967295",
        "--channel=unix-listen:",
        "--channel=serial:/x:9601",
        "--control=",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct proxy_options options;
        struct ob_fault fault = {0};
        char text[64];
        snprintf(text, sizeof(text), "%s", lines[i]);
        assert_true(parse(&options, &fault, text) < 0);
        assert_memory_equal(fault.text, lines[i], strcspn(lines[i], "="));
        proxy_options_done(&options);
    }
}

static void a_path_that_no_socket_can_have_is_refused(void **state)
{
    static const char *const options[] = {"--control=", "-cunix:", "-cunix-listen:", "-Lunix:"};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        struct proxy_options parsed;
        struct ob_fault fault = {0};
        char text[200];
        size_t len = strlen(options[i]);
        memcpy(text, options[i], len);
        memset(text + len, 'x', 108);
        text[len + 108] = '\0';
        assert_int_equal(parse(&parsed, &fault, text), -EINVAL);
        assert_non_null(strstr(fault.text, "108 bytes"));
        proxy_options_done(&parsed);
    }
}

static void a_word_that_is_no_option_is_refused(void **state)
{
    static const char *const lines[] = {"statsu",           "--allow-run junk --window=5",
                                        "-v -- junk",       "-s a=exec:tar c --trust-peer",
                                        "--trust-peer=yes", "-v7"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct proxy_options options;
        struct ob_fault fault = {0};
        char text[64];
        snprintf(text, sizeof(text), "%s", lines[i]);
        assert_int_equal(parse(&options, &fault, text), -EINVAL);
        assert_non_null(strstr(fault.text, "--help"));
        proxy_options_done(&options);
    }
}

static void unknown_options_and_questions(void **state)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    char unknown[] = "--unknown", missing[] = "-L", help[] = "-h", version[] = "--version";
    assert_int_equal(parse(&options, &fault, unknown), -EINVAL);
    assert_int_equal(parse(&options, &fault, missing), -EINVAL);
    assert_int_equal(parse(&options, &fault, help), PROXY_HELP);
    assert_int_equal(parse(&options, &fault, version), PROXY_VERSION);
}

static void check_forward(const char *text, const char *name, uint32_t port, const char *service)
{
    struct forward forward;
    struct ob_fault fault = {0};
    assert_int_equal(forward_parse(text, &forward, &fault), 0);
    assert_string_equal(forward.listen.name, name);
    assert_int_equal(forward.listen.port, port);
    assert_string_equal(forward.service, service);
}

static void forwards(void **state)
{
    check_forward("80:web", "127.0.0.1", 80, "web");
    check_forward("80:tcp:[::1]:443", "127.0.0.1", 80, "tcp:[::1]:443");
    check_forward("10.0.0.1:80:web", "10.0.0.1", 80, "web");
    check_forward("[::1]:80:tcp:h:1", "::1", 80, "tcp:h:1");
    check_forward("localhost:80", "127.0.0.1", 80, "");
    check_forward("unix:/a/b:web", "/a/b", 0, "web");
    check_forward("unix:/a/b", "/a/b", 0, "");
}

static void channels(void **state)
{
    struct channel_spec spec;
    struct ob_fault fault = {0};
    assert_int_equal(channel_spec_parse("serial:/dev/ttyS1:9600", &spec, &fault), 0);
    assert_string_equal(spec.path, "/dev/ttyS1");
    assert_int_equal(spec.number, 9600);
    assert_int_equal(spec.framing, OB_CHANNEL_LINE);
    assert_int_equal(channel_spec_parse("vsock-listen:7", &spec, &fault), 0);
    assert_int_equal(spec.kind, CHANNEL_LISTEN);
    assert_int_equal(spec.framing, OB_CHANNEL_STREAM);
    assert_int_equal(channel_spec_parse("fd:9,line", &spec, &fault), 0);
    assert_int_equal(spec.number, 9);
    assert_int_equal(spec.framing, OB_CHANNEL_LINE);
    assert_int_equal(channel_spec_parse("virtio:a/b", &spec, &fault), -EINVAL);
    assert_int_equal(channel_spec_parse("stdio:1", &spec, &fault), -EINVAL);
}

static void keys(void **state)
{
    char path[] = "/tmp/outboard-key-XXXXXX", key[OB_SESSION_KEY_MAX];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "se\ncrets\n\n", 10), 10);
    assert_int_equal(key_file_read(path, key, NULL), 8);
    assert_memory_equal(key, "se\ncrets", 8);
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(key_file_read(path, key, NULL), -EPERM);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(ftruncate(fd, OB_SESSION_KEY_MIN - 1), 0);
    assert_int_equal(key_file_read(path, key, NULL), -EINVAL);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(key_file_read(path, key, NULL), -EINVAL);
    assert_int_equal(ftruncate(fd, OB_SESSION_KEY_MAX + 1), 0);
    assert_int_equal(key_file_read(path, key, NULL), -EINVAL);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_option_is_a_guest_of_its_default_port),
        TEST(any_option_and_the_peer_is_trusted_no_more),
        TEST(options_of_every_kind),
        TEST(faults_name_the_option),
        TEST(a_path_that_no_socket_can_have_is_refused),
        TEST(a_word_that_is_no_option_is_refused),
        TEST(unknown_options_and_questions),
        TEST(forwards),
        TEST(channels),
        TEST(keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
