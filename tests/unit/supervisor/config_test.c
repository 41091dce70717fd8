// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/config.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "failing_alloc.h"

static char path[] = "/tmp/outboard-config-XXXXXX";

/* Reads a configuration of this text. */
static int read_text(const char *text, size_t len, struct config **ret_config,
                     struct ob_fault *fault)
{
    strcpy(path + sizeof(path) - 7, "XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    int err = config_read(path, ret_config, fault);
    unlink(path);
    return err;
}

static const char whole[] =
    "# comment\n; comment\n\n"
    "[machine]\n  memory = \"1G\"\n\targuments=-a b\n  arguments: \"c ; d\"\n"
    "[device \"disk0\"]\nimage = \"a = \"b\"\"\nimage = \"\"\n"
    "[device \"a.b_c-d\"]\n";

static void test_sections_and_settings(void **state)
{
    struct config *config = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(read_text(whole, strlen(whole), &config, &fault), 0);
    assert_int_equal(config->machine.line, 4);
    assert_int_equal(config->machine.count, 3);
    assert_string_equal(config_value(&config->machine, "memory"), "1G");
    assert_string_equal(config->machine.settings[1].value, "-a b");
    assert_string_equal(config_value(&config->machine, "arguments"), "c ; d");
    assert_int_equal(config->machine.settings[2].line, 7);
    assert_null(config_value(&config->machine, "image"));
    assert_int_equal(config->device_count, 2);
    assert_string_equal(config->devices[0].id, "disk0");
    assert_string_equal(config->devices[0].settings[0].value, "a = \"b\"");
    assert_string_equal(config_value(&config->devices[0], "image"), "");
    assert_string_equal(config->devices[1].id, "a.b_c-d");
    assert_int_equal(config->devices[1].line, 11);
    config_free(config);
}

/* Whatever is cut off, the result is a configuration or a fault with a line. */
static void test_every_length(void **state)
{
    for (size_t len = 0; len < strlen(whole); len++) {
        struct config *config = NULL;
        struct ob_fault fault = {0};
        int err = read_text(whole, len, &config, &fault);
        assert_true(err == 0 || (err == -EINVAL && strncmp(fault.text, path, strlen(path)) == 0));
        config_free(config);
    }
}

static void test_a_nul_byte(void **state)
{
    struct config *config = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(read_text("[machine]\na = b\0c\n", 18, &config, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, ":2: got a NUL byte"));
}

static void test_a_line_of_the_greatest_length(void **state)
{
    static char text[LIMIT_CONFIG_LINE + 32];
    struct config *config = NULL;
    struct ob_fault fault = {0};
    size_t head = (size_t)snprintf(text, sizeof(text), "[machine]\na = ");
    size_t len = LIMIT_CONFIG_LINE - strlen("a = ");
    memset(text + head, 'x', len + 1);
    text[head + len] = '\n';
    assert_int_equal(read_text(text, head + len + 1, &config, &fault), 0);
    assert_int_equal(strlen(config_value(&config->machine, "a")), len);
    config_free(config);
    config = NULL;
    memset(text + head, 'x', len + 4);
    text[head + len + 3] = '\n';
    assert_int_equal(read_text(text, head + len + 4, &config, &fault), -EINVAL);
}

static void test_no_file(void **state)
{
    struct config *config = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(config_read("/no/such/file", &config, &fault), -ENOENT);
    assert_string_equal(fault.text, "/no/such/file: No such file or directory");
}

static void test_allocations_that_fail(void **state)
{
    for (unsigned nth = 1;; nth++) {
        struct config *config = NULL;
        struct ob_fault fault = {0};
        fail_allocation(nth);
        int err = read_text(whole, strlen(whole), &config, &fault);
        bool failed = allocation_failed();
        config_free(config);
        if (!failed)
            break;
        assert_true(err < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sections_and_settings),
        TEST(test_every_length),
        TEST(test_a_nul_byte),
        TEST(test_a_line_of_the_greatest_length),
        TEST(test_no_file),
        TEST(test_allocations_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
