// SPDX-License-Identifier: BSD-3-Clause
#include "base/chain.h"

#include "support.h"

#include <string.h>

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + i / 256);
}

/* Appends len bytes that continue at offset at. */
static void append(struct chain *chain, size_t at, size_t len)
{
    uint8_t bytes[20000];
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(at + i);
    assert_int_equal(chain_append(chain, bytes, len), 0);
}

static void assert_holds(const struct chain *chain, size_t from)
{
    for (size_t at = 0; at < chain->len;) {
        const uint8_t *bytes;
        size_t len = chain_peek(chain, at, &bytes);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(bytes[i], byte_at(from + at + i));
        at += len;
    }
}

static void keeps_bytes_in_order(void **state)
{
    struct chain chain = {0};
    size_t in = 0, out = 0;
    for (size_t i = 0; i < 200; i++) {
        size_t len = i * 97 % 3000;
        append(&chain, in, len);
        in += len;
        len = i * 61 % (chain.len + 1);
        chain_consume(&chain, len);
        out += len;
        assert_int_equal(chain.len, in - out);
        assert_holds(&chain, out);
    }
    chain_clear(&chain);
    assert_int_equal(chain_memory(&chain), 0);
}

static void owns_nothing_while_empty(void **state)
{
    struct chain chain = {0};
    append(&chain, 0, 20000);
    chain_consume(&chain, 20000);
    assert_int_equal(chain_memory(&chain), 0);
    assert_int_equal(chain_append(&chain, NULL, 0), 0);
    assert_int_equal(chain_memory(&chain), 0);
}

static void single_bytes_do_not_multiply(void **state)
{
    struct chain chain = {0};
    for (size_t i = 0; i < 100000; i++) {
        append(&chain, i, 1);
        assert_true(chain_memory(&chain) <= 3 * chain.len + (size_t)2 * CHAIN_CHUNK_MIN);
    }
    assert_holds(&chain, 0);
    chain_clear(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_bytes_in_order),
        TEST(owns_nothing_while_empty),
        TEST(single_bytes_do_not_multiply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
