// SPDX-License-Identifier: BSD-3-Clause
#include "wire/base64.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* RFC 4648, section 10. */
static void the_vectors_of_the_standard(void **state)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[16], bytes[16];
        size_t len = strlen(rows[i][0]);
        assert_int_equal(base64_len(len), strlen(rows[i][1]));
        base64_encode(rows[i][0], len, text);
        assert_memory_equal(text, rows[i][1], base64_len(len));
        assert_int_equal(base64_decode(text, base64_len(len), bytes), len);
        assert_memory_equal(bytes, rows[i][0], len);
    }
}

static void round_trip_of_every_byte(void **state)
{
    uint8_t bytes[256], again[256];
    char text[400];
    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        base64_encode(bytes, len, text);
        assert_int_equal(base64_decode(text, base64_len(len), again), len);
        assert_memory_equal(again, bytes, len);
    }
}

static void what_is_none(void **state)
{
    static const char *const texts[] = {
        "Z", "Zg", "Zg=", "Zg==Zg==", "====", "Z===", "Zm9-", "Zm 9", "Zg=a", "=g==", "Zm9v\n"};
    char bytes[16];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(base64_decode(texts[i], strlen(texts[i]), bytes), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_vectors_of_the_standard),
        TEST(round_trip_of_every_byte),
        TEST(what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
