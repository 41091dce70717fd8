// SPDX-License-Identifier: BSD-3-Clause
#include "base/printable.h"

#include "support.h"

#include <string.h>

static void every_byte_becomes_printable(void **state)
{
    char text[2 * PRINTABLE_BYTE_MAX];
    for (int byte = 0; byte < 256; byte++) {
        const char one = (char)byte;
        size_t len = printable_copy(text, sizeof(text), &one, 1);
        assert_int_equal(len, strlen(text));
        assert_int_equal(len, byte >= ' ' && byte <= '~' ? 1 : PRINTABLE_BYTE_MAX);
        for (size_t i = 0; i < len; i++)
            assert_in_range(text[i], ' ', '~');
    }
    assert_int_equal(printable_copy(text, sizeof(text), "\x1b", 1), 4);
    assert_string_equal(text, "\\033");
}

static void a_printable_text_stays_as_it_is(void **state)
{
    char once[64], twice[64];
    size_t len = printable_copy(once, sizeof(once), "a\\b\nc", 5);
    assert_string_equal(once, "a\\b\\012c");
    assert_int_equal(printable_copy(twice, sizeof(twice), once, len), len);
    assert_string_equal(twice, once);
}

/* At every size: never more than fits, the mark only where something is missing, no escape cut. */
static void a_cut_is_marked(void **state)
{
    const char bytes[] = "ab\ncd\x80";
    const char whole[] = "ab\\012cd\\200";
    char text[sizeof(whole) + 4];
    for (size_t size = 4; size <= sizeof(text); size++) {
        memset(text, '#', sizeof(text));
        size_t len = printable_copy(text, size, bytes, sizeof(bytes) - 1);
        assert_int_equal(len, strlen(text));
        assert_true(len < size);
        for (size_t i = size; i < sizeof(text); i++)
            assert_int_equal(text[i], '#');
        if (size >= sizeof(whole)) {
            assert_string_equal(text, whole);
            continue;
        }
        assert_string_equal(text + len - 3, "...");
        assert_memory_equal(text, whole, len - 3);
        assert_true(len == 3 || strchr("abcd20", text[len - 4]) != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_byte_becomes_printable),
        TEST(a_printable_text_stays_as_it_is),
        TEST(a_cut_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
