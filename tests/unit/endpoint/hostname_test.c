// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/hostname.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static void spellings_of_one_name(void **state)
{
    static const char *const texts[] = {"secret.test", "SECRET.test", "secret.test.",
                                        "Secret.Test."};
    char name[ADDRESS_NAME_MAX + 1];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(hostname_canonical(texts[i], name), 0);
        assert_string_equal(name, "secret.test");
    }
}

static void texts_that_are_no_host_name(void **state)
{
    static const char *const texts[] = {
        "",           ".",          "..",         "secret.test..", ".secret.test",  "secret..test",
        "-a",         "a b",        "s\\101cret", "s%65cret",      "secr\303\251t", "a:1",
        "127.1",      "2130706433", "0x7f.1",     "0x7f000001",    "0X7F.0.0.1",    "017700000001",
        "fe80::1%lo", "127.0.0.1.", "a.0x",
    };
    char name[ADDRESS_NAME_MAX + 1] = "untouched";
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(hostname_canonical(texts[i], name), -EINVAL);
    assert_string_equal(name, "untouched");
}

static void labels_and_names_have_a_longest(void **state)
{
    char text[300], name[ADDRESS_NAME_MAX + 1];
    memset(text, 'a', sizeof(text));
    text[63] = '\0';
    assert_int_equal(hostname_canonical(text, name), 0);
    memcpy(text + 63, "a", 2);
    assert_int_equal(hostname_canonical(text, name), -EINVAL);
    memset(text, 'a', sizeof(text));
    for (size_t i = 1; i < 299; i += 2)
        text[i] = '.';
    text[254] = '\0';
    assert_int_equal(hostname_canonical(text, name), 0); /* 253 and a dot */
    text[254] = 'a';
    text[255] = '\0';
    assert_int_equal(hostname_canonical(text, name), -EINVAL);
}

static void patterns(void **state)
{
    char name[ADDRESS_NAME_MAX + 1];
    assert_int_equal(hostname_canonical_pattern("*.Example.", name), 0);
    assert_string_equal(name, "*.example");
    assert_int_equal(hostname_canonical("*.example", name), -EINVAL);
    assert_int_equal(hostname_canonical_pattern("a?.example", name), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(spellings_of_one_name),
        TEST(texts_that_are_no_host_name),
        TEST(labels_and_names_have_a_longest),
        TEST(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
