// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/trouble.h"

#include "support.h"

#include <string.h>

static void the_last_trouble_replaces_the_one_before(void **state)
{
    struct trouble trouble = {0};
    trouble_set(&trouble, "the channel %s has gone away for %u seconds", "unix:/there", 12);
    assert_string_equal(trouble.text, "the channel unix:/there has gone away for 12 seconds");
    trouble_set(&trouble, "short");
    assert_string_equal(trouble.text, "short");
    trouble_clear(&trouble);
    assert_string_equal(trouble.text, "");
}

/* A reason may hold a text of the peer's, of any length and with any mark of a format in it. */
static void a_text_of_a_peer_is_cut_and_not_a_format(void **state)
{
    struct {
        struct trouble trouble;
        char behind[16];
    } box = {0};
    char text[2 * TROUBLE_MAX + 1];
    memset(box.behind, 'B', sizeof(box.behind));
    for (size_t len = 0; len < sizeof(text); len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        trouble_set(&box.trouble, "%s", text);
        size_t kept = len < TROUBLE_MAX ? len : TROUBLE_MAX - 1;
        assert_int_equal(strlen(box.trouble.text), kept);
        assert_memory_equal(box.trouble.text, text, kept);
    }
    trouble_set(&box.trouble, "%s", "%s%n%100000d");
    assert_string_equal(box.trouble.text, "%s%n%100000d");
    for (size_t i = 0; i < sizeof(box.behind); i++)
        assert_int_equal(box.behind[i], 'B');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_last_trouble_replaces_the_one_before),
        TEST(a_text_of_a_peer_is_cut_and_not_a_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
