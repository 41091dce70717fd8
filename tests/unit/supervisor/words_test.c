// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/words.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "failing_alloc.h"

static void test_split(void **state)
{
    struct words words = {0};
    assert_int_equal(words_split(&words, "  one\ttwo 'three four' f'i v'e '' "), 0);
    assert_int_equal(words.count, 5);
    assert_string_equal(words.word[0], "one");
    assert_string_equal(words.word[1], "two");
    assert_string_equal(words.word[2], "three four");
    assert_string_equal(words.word[3], "fi ve");
    assert_string_equal(words.word[4], "");
    assert_null(words.word[5]);
    words_done(&words);
}

static void test_no_words(void **state)
{
    struct words words = {0};
    assert_int_equal(words_split(&words, " \t "), 0);
    assert_int_equal(words.count, 0);
    words_done(&words);
}

static void test_a_quote_that_does_not_close(void **state)
{
    struct words words = {0};
    assert_int_equal(words_split(&words, "a 'b c"), -EINVAL);
    words_done(&words);
}

/* A shell makes the same words of the line. */
static void test_printed_for_a_shell(void **state)
{
    static const char *const given[] = {"plain-_./=,:@%+", "two words", "it's", "$HOME `x` \\ \"",
                                        ""};
    struct words words = {0};
    char command[256] = "for word in ", *line = NULL, answer[256];
    size_t size;
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
        assert_int_equal(words_add(&words, "%s", given[i]), 0);
    FILE *file = open_memstream(&line, &size);
    words_print(&words, file);
    fclose(file);
    line[strlen(line) - 1] = '\0';
    strcat(strcat(command, line), "; do printf '%s|' \"$word\"; done");
    FILE *shell = popen(command, "r");
    assert_non_null(shell);
    assert_non_null(fgets(answer, sizeof(answer), shell));
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(answer, "plain-_./=,:@%+|two words|it's|$HOME `x` \\ \"||");
    free(line);
    words_done(&words);
}

/* As they are: no mark of a format, quote or space has a meaning. */
static void test_a_list_is_added_as_it_is(void **state)
{
    struct words words = {0};
    assert_int_equal(words_add_all(&words, (const char *[]){NULL}), 0);
    assert_int_equal(words.count, 0);
    assert_int_equal(words_add_all(&words, (const char *[]){"%s%n", "", "a 'b", NULL, "behind"}),
                     0);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.word[0], "%s%n");
    assert_string_equal(words.word[1], "");
    assert_string_equal(words.word[2], "a 'b");
    assert_null(words.word[3]);
    words_done(&words);
}

static void test_allocations_that_fail(void **state)
{
    for (unsigned nth = 1;; nth++) {
        struct words words = {0};
        fail_allocation(nth);
        int err = words_split(&words, "a b 'c d'");
        if (err == 0)
            err = words_add_all(&words, (const char *[]){"e", "f", NULL});
        bool failed = allocation_failed();
        words_done(&words);
        if (!failed)
            break;
        assert_int_equal(err, -ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_split),
        TEST(test_no_words),
        TEST(test_a_quote_that_does_not_close),
        TEST(test_printed_for_a_shell),
        TEST(test_a_list_is_added_as_it_is),
        TEST(test_allocations_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
