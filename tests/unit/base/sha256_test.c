// SPDX-License-Identifier: BSD-3-Clause
/* Vectors: FIPS 180-2 appendix B, RFC 4231 section 4. */
#include "base/sha256.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>

static void assert_digest(const uint8_t *digest, const char *hex)
{
    char text[2 * SHA256_LEN + 1];
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_LEN; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[sizeof(text) - 1] = 0;
    assert_string_equal(text, hex);
}

static void digests_official_vectors(void **state)
{
    static const struct {
        const char *text, *digest;
    } vectors[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct sha256 sha;
        uint8_t digest[SHA256_LEN];
        sha256_init(&sha);
        sha256_update(&sha, vectors[i].text, strlen(vectors[i].text));
        sha256_done(&sha, digest);
        assert_digest(digest, vectors[i].digest);
    }
}

static void digests_a_million_letters(void **state)
{
    struct sha256 sha;
    uint8_t digest[SHA256_LEN];
    char letters[1000];
    memset(letters, 'a', sizeof(letters));
    sha256_init(&sha);
    for (int i = 0; i < 1000; i++)
        sha256_update(&sha, letters, sizeof(letters));
    sha256_done(&sha, digest);
    assert_digest(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void assert_hmac(const void *key, size_t key_len, const char *text, size_t len,
                        const char *hex)
{
    struct hmac_sha256 hmac;
    uint8_t digest[SHA256_LEN];
    hmac_sha256_init(&hmac, key, key_len);
    hmac_sha256_update(&hmac, text, len);
    hmac_sha256_done(&hmac, digest);
    assert_digest(digest, hex);
}

static void authenticates_official_vectors(void **state)
{
    uint8_t key[131];
    char text[50];
    memset(key, 0x0b, sizeof(key));
    assert_hmac(key, 20, "Hi There", 8,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac("Jefe", 4, "what do ya want for nothing?", 28,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    memset(text, 0xdd, sizeof(text));
    assert_hmac(key, 20, text, sizeof(text),
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    assert_hmac(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void compares_every_byte(void **state)
{
    const uint8_t a[32] = {0};
    assert_true(equal_in_constant_time(a, (uint8_t[32]){0}, sizeof(a)));
    for (size_t i = 0; i < sizeof(a); i++) {
        uint8_t b[32] = {0};
        b[i] = 0x80;
        assert_false(equal_in_constant_time(a, b, sizeof(a)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(digests_official_vectors),
        TEST(digests_a_million_letters),
        TEST(authenticates_official_vectors),
        TEST(compares_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
