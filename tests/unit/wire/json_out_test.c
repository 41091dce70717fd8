// SPDX-License-Identifier: BSD-3-Clause
#include "wire/json_out.h"

#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check(struct json_out *out, const char *expected)
{
    assert_int_equal(json_out_done(out), 0);
    assert_int_equal(out->len, strlen(expected));
    assert_memory_equal(out->bytes, expected, out->len);
    json_out_free(out);
}

static void nested(void **state)
{
    struct json_out out;
    json_out_init(&out, 4096);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "a", "x");
    json_out_member_int(&out, "b", -1);
    json_out_member_uint(&out, "c", UINT64_MAX);
    json_out_member_bool(&out, "d", true);
    json_out_name(&out, "e");
    json_out_begin(&out, '[');
    json_out_real(&out, 0.5);
    json_out_real(&out, (double)INFINITY);
    json_out_raw(&out, "{}", 2);
    json_out_end(&out, ']');
    json_out_end(&out, '}');
    check(&out, "{\"a\": \"x\", \"b\": -1, \"c\": 18446744073709551615, \"d\": true, "
                "\"e\": [0.5, null, {}]}");
}

static void text_is_ascii(void **state)
{
    struct json_out out;
    json_out_init(&out, 4096);
    json_out_text(&out, "\x01\x7f\"\\\n\xc3\xbc\xff\xc0\x80", 10);
    check(&out, "\"\\u0001\\u007f\\\"\\\\\\n\\u00fc\\ufffd\\u0000\"");
}

static void base64(void **state)
{
    struct json_out out;
    json_out_init(&out, 4096);
    json_out_base64(&out, "hello", 5);
    check(&out, "\"aGVsbG8=\"");
    json_out_init(&out, 4096);
    json_out_base64(&out, "", 0);
    check(&out, "\"\"");
}

static void errors_stick(void **state)
{
    for (size_t max = 0; max < 12; max++) {
        struct json_out out;
        json_out_init(&out, max);
        json_out_string(&out, "ten bytes!");
        json_out_string(&out, "");
        assert_int_equal(json_out_done(&out), -E2BIG);
        assert_true(out.len <= max);
        json_out_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nested),
        TEST(text_is_ascii),
        TEST(base64),
        TEST(errors_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
