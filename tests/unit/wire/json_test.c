// SPDX-License-Identifier: BSD-3-Clause
#include "wire/json.h"

#include "base/limits.h"
#include "support.h"
#include "wire/json_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX 65536

/* What a text means, written again; NULL: it has a fault. To be freed. */
static char *rewritten(const char *text, size_t len)
{
    struct json_document *document;
    struct json_fault fault;
    struct json_out out;
    char *exact = malloc(len ? len : 1); /* so that a read behind the end is seen */
    memcpy(exact, text, len);
    int err = json_parse(exact, len, &document, &fault);
    if (err < 0) {
        assert_int_equal(err, -EPROTO);
        assert_true(fault.offset <= len);
        assert_non_null(fault.text);
        free(exact);
        return NULL;
    }
    json_out_init(&out, OUT_MAX);
    json_out_value(&out, json_root(document));
    assert_int_equal(json_out_done(&out), 0);
    char *copy = strndup(out.bytes, out.len);
    json_out_free(&out);
    json_free(document);
    free(exact);
    return copy;
}

static void check(const char *text, const char *expected)
{
    char *got = rewritten(text, strlen(text));
    assert_non_null(got);
    assert_string_equal(got, expected);
    free(got);
}

static void values(void **state)
{
    check("null", "null");
    check(" [true, false] ", "[true, false]");
    check("{}", "{}");
    check("[]", "[]");
    check("{\"a\": {\"b\": [1, -2]}, 'c': 'd'}", "{\"a\": {\"b\": [1, -2]}, \"c\": \"d\"}");
    check("9223372036854775807", "9223372036854775807");
    check("18446744073709551615", "18446744073709551615");
    check("-9223372036854775808", "-9223372036854775808");
    check("1.5", "1.5");
    check("-0.25e2", "-25");
    check("18446744073709551616", "1.8446744073709552e+19");
}

static void strings(void **state)
{
    check("'\\'\\\"\\\\\\/\\b\\f\\n\\r\\t'", "\"'\\\"\\\\/\\b\\f\\n\\r\\t\"");
    check("\"\\u0000\"", "\"\\u0000\"");
    check("\"\\u00fc\\u20ac\\ud83d\\ude00\"", "\"\\u00fc\\u20ac\\ud83d\\ude00\"");
    check("\"\xc3\xbc\xf0\x9f\x98\x80\"", "\"\\u00fc\\ud83d\\ude00\"");
    check("'it is \"so\"'", "\"it is \\\"so\\\"\"");
}

static void check_fault(const char *text, size_t offset)
{
    struct json_document *document;
    struct json_fault fault = {0};
    assert_int_equal(json_parse(text, strlen(text), &document, &fault), -EPROTO);
    assert_int_equal(fault.offset, offset);
}

static void faults_by_offset(void **state)
{
    check_fault("", 0);
    check_fault("{", 1);
    check_fault("{\"a\" 1}", 5);
    check_fault("[1 2]", 3);
    check_fault("[1,]", 3);
    check_fault("nul", 0);
    check_fault("01", 0);
    check_fault("[-]", 1);
    check_fault("[1.]", 1);
    check_fault("\"\\x\"", 2);
    check_fault("\"\\u12g4\"", 5);
    check_fault("\"\\ud800\"", 3);
    check_fault("\"\\udc00\"", 3);
    check_fault("\"\xc0\xaf\"", 1); /* overlong */
    check_fault("\"\xed\xa0\x80\"", 1);
    check_fault("\"\n\"", 1);
    check_fault("\"open", 5);
    check_fault("{} {}", 3);
}

/* No text that is cut is a whole one, but for numbers. */
static void cut_at_every_length(void **state)
{
    static const char text[] = "{\"execute\": 'a\\u00e4b', \"arguments\": {\"x\": [1, 2.5, null]}}";
    for (size_t len = 0; len < strlen(text); len++)
        assert_null(rewritten(text, len));
}

static void nesting_has_a_limit(void **state)
{
    size_t depth = LIMIT_JSON_DEPTH;
    static char text[2 * LIMIT_JSON_DEPTH + 2];
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    char *got = rewritten(text, 2 * depth);
    assert_non_null(got);
    free(got);
    memset(text, '[', depth + 1);
    memset(text + depth + 1, ']', depth + 1);
    assert_null(rewritten(text, 2 * depth + 2));
}

static void values_have_a_limit(void **state)
{
    size_t len = 2 * (size_t)LIMIT_JSON_VALUES;
    static char text[2 * LIMIT_JSON_VALUES + 3];
    text[0] = '[';
    for (size_t i = 0; i < LIMIT_JSON_VALUES; i++)
        memcpy(text + 1 + 2 * i, "1,", 2);
    text[len] = ']';
    assert_null(rewritten(text, len + 1));
}

static void members(void **state)
{
    static const char text[] = "{\"a\": 1, \"b\": 'text', \"a\": 2}";
    struct json_document *document;
    struct json_fault fault;
    assert_int_equal(json_parse(text, strlen(text), &document, &fault), 0);
    const struct json *root = json_root(document);
    assert_int_equal(json_member(root, "a")->integer, 2); /* the last one */
    assert_true(json_is_text(json_member(root, "b"), "text"));
    assert_false(json_is_text(json_member(root, "a"), "2"));
    assert_null(json_member(root, "c"));
    assert_null(json_member(json_member(root, "a"), "a"));
    assert_null(json_member(NULL, "a"));
    json_free(document);
    json_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values),
        TEST(strings),
        TEST(faults_by_offset),
        TEST(cut_at_every_length),
        TEST(nesting_has_a_limit),
        TEST(values_have_a_limit),
        TEST(members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
