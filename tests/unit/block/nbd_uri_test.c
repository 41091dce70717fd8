// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_uri.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct nbd_uri uri;

static void a_host_has_a_port_and_an_export(void **state)
{
    assert_int_equal(nbd_uri_parse("nbd://images.test", &uri), 0);
    assert_string_equal(uri.host, "images.test");
    assert_string_equal(uri.port, "10809");
    assert_string_equal(uri.export, "");
    assert_int_equal(nbd_uri_parse("nbd://10.0.0.1:7/a%20disk/b", &uri), 0);
    assert_string_equal(uri.host, "10.0.0.1");
    assert_string_equal(uri.port, "7");
    assert_string_equal(uri.export, "a disk/b");
    assert_int_equal(nbd_uri_parse("nbd://[::1]:65535/", &uri), 0);
    assert_string_equal(uri.host, "::1");
    assert_string_equal(uri.port, "65535");
}

static void a_path_has_an_export(void **state)
{
    assert_int_equal(nbd_uri_parse("nbd+unix:///?socket=/run/disk.nbd", &uri), 0);
    assert_string_equal(uri.path.sun_path, "/run/disk.nbd");
    assert_string_equal(uri.export, "");
    assert_string_equal(uri.host, "");
    assert_int_equal(nbd_uri_parse("nbd+unix:///x%2Fy?socket=/a%20b", &uri), 0);
    assert_string_equal(uri.path.sun_path, "/a b");
    assert_string_equal(uri.export, "x/y");
}

static void what_is_no_such_uri_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "nbd",
        "nbd://",
        "nbd:///export",
        "nbd://user@host",
        "nbd://host:",
        "nbd://host:x",
        "nbd://host:123456",
        "nbd://host:1/a?b",
        "nbd://[::1",
        "nbd://[::1]x",
        "nbd://a%2",
        "nbd://a%zz",
        "nbd://a%00",
        "nbds://host",
        "nbd+unix:///",
        "nbd+unix:///?socket=",
        "nbd+unix:///?path=/a",
        "nbd+unix:///?socket=/a&tls=no",
        "nbd+unix://host/?socket=/a",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(nbd_uri_parse(texts[i], &uri), -EINVAL);
}

/* Each part at its longest, and a letter longer. */
static void what_does_not_fit_is_refused(void **state)
{
    const struct {
        const char *before, *after;
        size_t most;
    } parts[] = {{"nbd://", "", NBD_HOST_MAX - 1},
                 {"nbd://h/", "", NBD_EXPORT_MAX - 1},
                 {"nbd+unix:///", "?socket=/a", NBD_EXPORT_MAX - 1},
                 {"nbd+unix:///?socket=", "", sizeof(uri.path.sun_path) - 1}};
    static char filler[NBD_EXPORT_MAX + 1], text[NBD_EXPORT_MAX + 64];
    memset(filler, 'a', sizeof(filler) - 1);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        for (int more = 0; more < 2; more++) {
            snprintf(text, sizeof(text), "%s%.*s%s", parts[i].before, (int)parts[i].most + more,
                     filler, parts[i].after);
            assert_int_equal(nbd_uri_parse(text, &uri), more ? -EINVAL : 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_host_has_a_port_and_an_export),
        TEST(a_path_has_an_export),
        TEST(what_is_no_such_uri_is_refused),
        TEST(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
