// SPDX-License-Identifier: BSD-3-Clause
/* The values of options: forwards, services, key files. */
#include "proxy/options.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_forward_has_an_address_and_perhaps_a_service(void **state)
{
    static const struct {
        const char *text;
        enum address_kind kind;
        uint32_t port;
        const char *service;
    } cases[] = {
        {"80", ADDRESS_TCP, 80, ""},
        {"80:web", ADDRESS_TCP, 80, "web"},
        {"80:tcp:host:81", ADDRESS_TCP, 80, "tcp:host:81"},
        {"127.0.0.1:80:web", ADDRESS_TCP, 80, "web"},
        {"localhost:80", ADDRESS_TCP, 80, ""},
        {"[::1]:80:web", ADDRESS_TCP, 80, "web"},
        {"unix:/s", ADDRESS_UNIX, 0, ""},
        {"unix:/s:web", ADDRESS_UNIX, 0, "web"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct forward forward;
        struct ob_fault fault = {0};
        if (forward_parse(cases[i].text, &forward, &fault) < 0)
            fail_msg("%s: %s", cases[i].text, fault.text);
        assert_int_equal(forward.listen.kind, cases[i].kind);
        assert_int_equal(forward.listen.port, cases[i].port);
        assert_string_equal(forward.service, cases[i].service);
    }
}

static void a_forward_that_is_none_is_named(void **state)
{
    static const char *const cases[] = {"", "web", "x:y:z", "70000:web", "[::1:80", "unix:"};
    char text[OB_SESSION_SERVICE_MAX + 20];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ob_fault fault = {0};
        if (forward_parse(cases[i], &(struct forward){0}, &fault) != -EINVAL)
            fail_msg("'%s' was taken", cases[i]);
        assert_true(strlen(fault.text) > 0);
    }
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "80:", 3);
    assert_int_equal(forward_parse(text, &(struct forward){0}, NULL), -EINVAL);
}

static void a_service_has_a_name_and_a_target(void **state)
{
    struct service service;
    assert_int_equal(service_parse("web=tcp:host:80", &service, NULL), 0);
    assert_string_equal(service.name, "web");
    assert_int_equal(service.kind, SERVICE_CONNECT);
    assert_int_equal(service_parse("sh=pty:sh -i", &service, NULL), 0);
    assert_int_equal(service.kind, SERVICE_TERMINAL);
    assert_string_equal(service.command, "sh -i");
    assert_int_equal(service_parse("a=exec:b=c", &service, NULL), 0);
    assert_string_equal(service.command, "b=c");
    static const char *const cases[] = {"",   "web",     "=tcp:h:1",  "@x=tcp:h:1", "a:b=tcp:h:1",
                                        "a=", "a=exec:", "a=exec:  ", "a=tcp:h",    "a=nope:1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ob_fault fault = {0};
        if (service_parse(cases[i], &service, &fault) != -EINVAL)
            fail_msg("'%s' was taken", cases[i]);
        assert_true(strlen(fault.text) > 0);
    }
}

/* What key_file_read() makes of a file with these bytes and this mode. */
static int read_key(const char *bytes, size_t len, mode_t mode, char ret_key[OB_SESSION_KEY_MAX],
                    struct ob_fault *fault)
{
    char path[] = "/tmp/ob-key-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    fchmod(fd, mode);
    close(fd);
    int got = key_file_read(path, ret_key, fault);
    unlink(path);
    return got;
}

static void a_key_is_a_file_of_its_user(void **state)
{
    char key[OB_SESSION_KEY_MAX], longest[OB_SESSION_KEY_MAX + 3];
    struct ob_fault fault = {0};
    assert_int_equal(read_key("0123456789abcdef0123456789abcdef\n\n", 34, 0600, key, NULL), 32);
    assert_memory_equal(key, "0123456789abcdef", 16);
    assert_int_equal(read_key("0123456789abcdef\n", 17, 0644, key, &fault), -EPERM);
    assert_non_null(strstr(fault.text, "chmod 600"));
    fault = (struct ob_fault){0};
    assert_int_equal(read_key("short\n", 6, 0600, key, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "the key has 5 bytes"));
    memset(longest, 'k', sizeof(longest));
    assert_int_equal(read_key(longest, OB_SESSION_KEY_MAX, 0600, key, NULL), OB_SESSION_KEY_MAX);
    assert_int_equal(read_key(longest, OB_SESSION_KEY_MAX + 1, 0600, key, NULL), -EINVAL);
    assert_int_equal(key_file_read("/nowhere", key, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_forward_has_an_address_and_perhaps_a_service),
        TEST(a_forward_that_is_none_is_named),
        TEST(a_service_has_a_name_and_a_target),
        TEST(a_key_is_a_file_of_its_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
